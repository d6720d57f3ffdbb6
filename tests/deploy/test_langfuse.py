"""The compose file for a Langfuse server: valid, pinned, secrets from the script, health checks, no open ports."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT

FOLDER = ROOT / "deploy" / "langfuse"


def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))


def test_every_image_is_pinned_and_every_service_is_watched() -> None:
    services = compose()["services"]
    assert set(services) == {"web", "worker", "postgres", "clickhouse", "redis", "minio"}
    for name, service in services.items():
        tag = service["image"].split(":", 1)[1]
        assert tag not in ("latest", ""), name
        assert re.search(r"\d+\.\d+|\d{4}-\d{2}-\d{2}", tag), name
        assert service["healthcheck"]["test"], name
    for name in ("web", "worker"):
        assert {key: value["condition"] for key, value in services[name]["depends_on"].items()} == dict.fromkeys(
            ("postgres", "clickhouse", "redis", "minio"), "service_healthy"
        )


def test_only_pages_and_files_are_published_and_on_this_machine_by_default() -> None:
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert published == {
        "web": ["${LANGFUSE_BIND:-127.0.0.1}:3000:3000"],
        "minio": ["${LANGFUSE_BIND:-127.0.0.1}:9090:9000"],
    }


UPSTREAM = {
    "langfuse": "4.16.0",
    "clickhouse": "25.12",
    "redis": "7",
    "postgres": "17",
    "worker": {"NEXTAUTH_URL", "SALT", "ENCRYPTION_KEY", "DATABASE_URL", "REDIS_AUTH", "CLICKHOUSE_MIGRATION_URL"},
    "buckets": ("EVENT_UPLOAD", "MEDIA_UPLOAD", "BATCH_EXPORT"),
}
"""What the release's own docker-compose.yml says (langfuse/langfuse, tag v4.16.0)."""


def test_it_agrees_with_the_compose_file_of_the_release() -> None:
    services = compose()["services"]
    tags = {name: service["image"].split(":", 1)[1] for name, service in services.items()}
    assert tags["web"] == tags["worker"] == f"${{LANGFUSE_VERSION:-{UPSTREAM['langfuse']}}}"
    assert tags["clickhouse"] == UPSTREAM["clickhouse"], "migration 0039 needs it"
    for name in ("redis", "postgres"):
        assert tags[name].split(".")[0] == UPSTREAM[name]
    for name in ("web", "worker"):
        environment = services[name]["environment"]
        assert set(environment) >= UPSTREAM["worker"], name
        for bucket in UPSTREAM["buckets"]:
            parts = ("BUCKET", "REGION", "ENDPOINT", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "FORCE_PATH_STYLE", "PREFIX")
            assert {f"LANGFUSE_S3_{bucket}_{part}" for part in parts} <= set(environment), (name, bucket)
        assert environment["LANGFUSE_S3_BATCH_EXPORT_ENABLED"] == "true"
    # what a browser follows must be reachable by it, what a container follows by that
    files = "${LANGFUSE_FILES_URL:-http://localhost:9090}"
    assert services["web"]["environment"]["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"] == files
    assert services["worker"]["environment"]["LANGFUSE_S3_MEDIA_UPLOAD_ENDPOINT"] == "http://minio:9000"
    assert services["worker"]["environment"]["LANGFUSE_S3_BATCH_EXPORT_EXTERNAL_ENDPOINT"] == files


def test_the_script_makes_every_secret_once(tmp_path: Path) -> None:
    script = [sys.executable, str(FOLDER / "make_env.py"), str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    files = [FOLDER / "compose.yaml", FOLDER.parent / "compose.yaml"]
    needed = {name for file in files for name in re.findall(r"\$\{(\w+):\?", file.read_text())}
    assert needed == set(made)
    assert re.fullmatch(r"[0-9a-f]{64}", made["ENCRYPTION_KEY"])
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    again = subprocess.run(script, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "exists" in again.stderr
    assert dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines()) == made


def test_no_secret_is_in_the_repository() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    for line in text.splitlines():
        if re.search(r"(PASSWORD|SECRET|SALT|KEY|AUTH): ", line) and "KEY_ID" not in line:
            assert ":?run make_env.py first}" in line, line
    assert ".env" in (FOLDER / ".gitignore").read_text().split()
