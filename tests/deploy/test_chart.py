"""The Helm chart: linted, rendered, and what it renders against the schemas of Kubernetes."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support import ROOT
from tests.support.contained import Image
from tests.support.go_build import PROGRAMS

CHART = ROOT / "deploy" / "helm" / "sluicegate"
IMAGE = Image(ROOT / "deploy" / "container" / "Containerfile")
KUBERNETES = "1.33"
MANY = {
    "replicas": 3,
    "database": {"existingSecret": "database"},
    "autoscaling": {"enabled": True},
    "ollama": {"url": "http://ollama:11434"},
    "ingress": {"enabled": True, "className": "nginx", "host": "slm.example.org", "tlsSecret": "tls"},
    "serviceMonitor": {"enabled": True, "tokenSecret": "scraper"},
    "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"name": "apps"}}}]},
    "env": [{"name": "LANGFUSE_HOST", "value": "https://langfuse.example.org"}],
    "envFrom": [{"secretRef": {"name": "keys"}}],
    "image": {"repository": "registry.example.org/slm", "digest": "sha256:" + "0" * 64},
    "home": {"storageClass": "fast"},
    "arguments": ["--running=32"],
}


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    if not (binary := PROGRAMS["helm"].found()):
        pytest.skip("no helm: `make helm` builds it")
    return subprocess.run(
        [binary, *arguments, "--values", "-"],
        input=json.dumps(values or {}),
        capture_output=True,
        text=True,
        check=False,
    )


def rendered(values: Mapping[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """What it renders, by kind and name; each is valid."""
    done = helm("template", "slm", str(CHART), "--kube-version", f"{KUBERNETES}.0", values=values)
    assert done.returncode == 0, done.stderr
    found = {f"{each['kind']}/{each['metadata']['name']}": each for each in yaml.safe_load_all(done.stdout) if each}
    for name, each in found.items():
        # the operator's own kind is in none of Kubernetes's schemas
        if not name.startswith("ServiceMonitor/"):
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
    return found


def test_it_is_linted_and_its_values_are_checked() -> None:
    assert helm("lint", "--strict", str(CHART), "--kube-version", f"{KUBERNETES}.0").returncode == 0
    for values, wrong in (
        ({"replica": 2}, "replica"),
        ({"image": {"repository": "x", "digest": "sha256:1"}}, "digest"),
        ({"workflows": ["/workflows; rm"]}, "workflows"),
    ):
        done = helm("lint", "--strict", str(CHART), "--kube-version", f"{KUBERNETES}.0", values=values)
        assert done.returncode != 0
        assert wrong in done.stdout + done.stderr


def test_one_replica_needs_no_server_and_has_no_rights() -> None:
    made = rendered()
    assert {name.partition("/")[0] for name in made} == {"NetworkPolicy", "Service", "StatefulSet"}
    pod = made["StatefulSet/slm"]["spec"]["template"]["spec"]
    user, _ = map(int, IMAGE.of("USER").split(":"))
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == user
    assert not pod["automountServiceAccountToken"]
    (server,) = pod["containers"]
    for container in (server, *pod["initContainers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        assert mounts == {"home": IMAGE.of("VOLUME"), "tmp": "/tmp", "tokens": "/etc/sluicegate"}
    assert server["args"][:4] == ["serve", "/workflows", "--host=0.0.0.0", "--port=8080"]
    assert server["args"][4:] == ["--tokens=/etc/sluicegate/tokens.json"]
    assert {each: server[each]["httpGet"]["path"] for each in server if each.endswith("Probe")} == {
        "startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz",
    }  # fmt: skip


def test_many_replicas_share_a_database_and_keep_their_homes() -> None:
    for alone in ({"replicas": 2}, {"autoscaling": {"enabled": True}}):
        done = helm("template", "slm", str(CHART), "--kube-version", f"{KUBERNETES}.0", values=alone)
        assert "more than one replica needs a PostgreSQL server: set database.existingSecret" in done.stderr
    made = rendered(MANY)
    state = made["StatefulSet/slm"]["spec"]
    assert "replicas" not in state, "the autoscaler has the say"
    assert state["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "fast"
    assert state["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (server,) = state["template"]["spec"]["containers"]
    assert server["image"] == "registry.example.org/slm@sha256:" + "0" * 64
    assert server["args"][-1] == "--running=32"
    assert [each["name"] for each in server["env"]] == ["SLUICEGATE_DATABASE_URL", "OLLAMA_HOST", "LANGFUSE_HOST"]
    assert server["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert made["HorizontalPodAutoscaler/slm"]["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"
    assert made["PodDisruptionBudget/slm"]["spec"]["maxUnavailable"] == 1
    assert made["Ingress/slm"]["spec"]["tls"] == [{"hosts": ["slm.example.org"], "secretName": "tls"}]
    chosen = made["ServiceMonitor/slm"]["spec"]["selector"]["matchLabels"].items()
    services = [
        name for name in made if name.startswith("Service/") and chosen <= made[name]["metadata"]["labels"].items()
    ]
    assert services == ["Service/slm-pods"], "every pod is scraped once"
    policy = made["NetworkPolicy/slm"]["spec"]
    assert policy["ingress"][0]["from"] == MANY["networkPolicy"]["from"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 443, 5432, 11434}
