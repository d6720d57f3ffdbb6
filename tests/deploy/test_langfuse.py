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


def test_only_the_web_port_is_published_and_on_this_machine_by_default() -> None:
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}
    assert published == {"web": ["${LANGFUSE_BIND:-127.0.0.1}:3000:3000"]}


def test_the_script_makes_every_secret_once(tmp_path: Path) -> None:
    script = [sys.executable, str(FOLDER / "make_env.py"), str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True)
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    needed = set(re.findall(r"\$\{(\w+):\?", (FOLDER / "compose.yaml").read_text()))
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
