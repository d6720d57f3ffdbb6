"""The Helm chart: linted, rendered, and what it renders against the schemas of Kubernetes."""

import json
import re
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
WORKERS = {
    "database": {"existingSecret": "database"},
    "objectStorage": {"existingSecret": "bucket"},
    "envFrom": [{"secretRef": {"name": "keys"}}],
    "serviceMonitor": {"enabled": True, "tokenSecret": "scraper"},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "worker": {
        "enabled": True,
        "concurrency": 4,
        "drainSeconds": 90,
        "toolSeconds": 30,
        "arguments": ["--queue=helpdesk"],
        "resources": {"requests": {"cpu": "4"}},
        "scrapedFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "autoscaling": {"enabled": True, "queueLength": 5},
    },
}
OPERATORS = ("ServiceMonitor/", "PrometheusRule/")
"""Of the operator's own kinds, which are in none of Kubernetes's schemas."""


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
        if not name.startswith(OPERATORS):
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
    return found


@pytest.mark.slow
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


@pytest.mark.slow
def test_many_replicas_share_a_database_and_keep_their_homes() -> None:
    for alone in ({"replicas": 2}, {"autoscaling": {"enabled": True}}, {"worker": {"enabled": True}}):
        done = helm("template", "slm", str(CHART), "--kube-version", f"{KUBERNETES}.0", values=alone)
        assert (
            "more than one replica, and workers, need a PostgreSQL server: set database.existingSecret" in done.stderr
        )
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


@pytest.mark.slow
def test_workers_carry_what_the_server_accepts() -> None:
    made = rendered(WORKERS)
    server, worker = (made[f"StatefulSet/{name}"]["spec"] for name in ("slm", "slm-worker"))
    (serves,), (works,) = (each["template"]["spec"]["containers"] for each in (server, worker))
    assert "--no-work" in serves["args"]
    assert "--no-work" not in rendered()["StatefulSet/slm"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert works["args"] == [
        "worker", "/workflows", "--concurrency=4", "--drain=90", "--host=0.0.0.0", "--port=8081",
        "--tokens=/etc/sluicegate/tokens.json", "--queue=helpdesk",
    ]  # fmt: skip
    assert worker["template"]["spec"]["terminationGracePeriodSeconds"] == 90 + 30 + 10
    assert {each: works[each]["httpGet"] for each in works if each.endswith("Probe")} == {
        "startupProbe": {"path": "/healthz", "port": "watch"},
        "livenessProbe": {"path": "/healthz", "port": "watch"},
        "readinessProbe": {"path": "/readyz", "port": "watch"},
    }
    # but for its command, its port, its probes and its size it is what the server is
    own = {"name", "args", "ports", "resources", "startupProbe", "livenessProbe", "readinessProbe"}
    assert {key: works[key] for key in works.keys() - own} == {key: serves[key] for key in serves.keys() - own}
    assert works["envFrom"] == [{"secretRef": {"name": "bucket"}}, {"secretRef": {"name": "keys"}}]
    assert works["resources"] == {"requests": {"cpu": "4", "memory": "2Gi"}, "limits": {"memory": "4Gi"}}
    assert "replicas" not in worker, "the autoscaler has the say"
    assert worker["volumeClaimTemplates"][0]["spec"] == server["volumeClaimTemplates"][0]["spec"]


@pytest.mark.slow
def test_what_chooses_the_server_chooses_no_worker() -> None:
    made = rendered(WORKERS)
    labels = {
        name: made[f"StatefulSet/{name}"]["spec"]["template"]["metadata"]["labels"].items()
        for name in ("slm", "slm-worker")
    }

    def chosen(selector: Mapping[str, str]) -> list[str]:
        return [name for name, has in labels.items() if selector.items() <= has]

    for kind, where in (
        ("StatefulSet", lambda spec: spec["selector"]["matchLabels"]),
        ("PodDisruptionBudget", lambda spec: spec["selector"]["matchLabels"]),
        ("NetworkPolicy", lambda spec: spec["podSelector"]["matchLabels"]),
    ):
        for name in ("slm", "slm-worker"):
            if each := made.get(f"{kind}/{name}"):
                assert chosen(where(each["spec"])) == [name], kind
    services = {name: chosen(each["spec"]["selector"]) for name, each in made.items() if name.startswith("Service/")}
    assert services == {
        "Service/slm": ["slm"], "Service/slm-pods": ["slm"], "Service/slm-worker-pods": ["slm-worker"],
    }  # fmt: skip
    monitors = {
        name: [other for other in services if each["spec"]["selector"]["matchLabels"].items()
               <= made[other]["metadata"]["labels"].items()]
        for name, each in made.items() if name.startswith("ServiceMonitor/")
    }  # fmt: skip
    assert monitors == {
        "ServiceMonitor/slm": ["Service/slm-pods"], "ServiceMonitor/slm-worker": ["Service/slm-worker-pods"],
    }  # fmt: skip
    assert made["PodDisruptionBudget/slm-worker"]["spec"]["maxUnavailable"] == 1
    policy = made["NetworkPolicy/slm-worker"]["spec"]
    assert policy["ingress"] == [
        {"ports": [{"port": "watch", "protocol": "TCP"}], "from": WORKERS["worker"]["scrapedFrom"]}
    ]
    assert policy["egress"] == made["NetworkPolicy/slm"]["spec"]["egress"]
    scaler = made["HorizontalPodAutoscaler/slm-worker"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == "slm-worker"
    (metric,) = scaler["metrics"]
    assert metric["external"]["metric"]["name"] == "sluicegate_queue_length"
    assert metric["external"]["target"] == {"type": "AverageValue", "averageValue": "5"}


@pytest.mark.slow
def test_indexes_on_a_store_need_one_ingest_only() -> None:
    made = rendered({**WORKERS, "ingest": False, "workflows": ["/workflows/one", "/workflows/two"]})
    for name in ("slm", "slm-worker"):
        (prepare,) = made[f"StatefulSet/{name}"]["spec"]["template"]["spec"]["initContainers"]
        assert prepare["args"] == ["sluicegate models pull /workflows/one && sluicegate models pull /workflows/two"]


@pytest.mark.slow
def test_every_rule_is_on_the_page_and_reads_metrics_that_are() -> None:
    rule = rendered(WORKERS)["PrometheusRule/slm"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    alone = yaml.safe_load((CHART / "alerts.yaml").read_text("utf-8"))
    assert rule["spec"] == alone
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    named = set(re.findall(r"`(sluicegate_\w+)`", page))
    rules = [rule for group in alone["groups"] for rule in group["rules"]]
    assert {each["alert"] for each in rules} == set(re.findall(r"^\| `(Sluicegate\w+)`", page, re.MULTILINE))
    for each in rules:
        assert set(re.findall(r"sluicegate_\w+", each["expr"])) <= named, each["alert"]
        assert each["labels"]["severity"] in ("critical", "warning")
        assert each["annotations"]["summary"]
