"""The Containerfile and the compose file: linted, and what they start, as plain processes under the same conditions."""

import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from sluicegate.home import cache_dir
from sluicegate.serving.http.callers.caller import Named
from sluicegate.serving.http.callers.token_file import TokenFile
from tests.support import ROOT
from tests.support.contained import Image, contained, possible

FOLDER = ROOT / "deploy"
CONTAINERFILE = FOLDER / "container" / "Containerfile"
WORKFLOWS = ROOT / "configs" / "helpdesk"
IMAGE = Image(CONTAINERFILE)
INSTALLED = Path(sys.prefix)


def compose() -> dict[str, Any]:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))


def tool(*command: str) -> None:
    done = subprocess.run(
        [INSTALLED / "bin" / command[0], *command[1:]], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_files_are_linted() -> None:
    tool("hadolint", "--failure-threshold", "style", str(CONTAINERFILE))
    files = [str(FOLDER / "compose.yaml"), str(FOLDER / "langfuse" / "compose.yaml")]
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


def test_a_container_has_no_rights_and_writes_only_to_its_volume() -> None:
    assert IMAGE.of("USER") == "10001:10001"
    assert IMAGE.environment()["SLUICEGATE_HOME"].startswith(IMAGE.of("VOLUME") + "/")
    services = compose()["services"]
    for name in ("server", "worker", "prepare"):
        service = services[name]
        assert (service["user"], service["read_only"], service["cap_drop"]) == (IMAGE.of("USER"), True, ["ALL"])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert f"home:{IMAGE.of('VOLUME')}" in service["volumes"]
    assert {name for name, service in services.items() if "ports" in service} == {"server"}
    assert {".env", "storage.env"} <= {*(FOLDER / ".gitignore").read_text().split()}
    for name, service in services.items():
        if name not in ("server", "worker", "prepare"):
            assert re.search(r":\d+\.\d+", service["image"]), name
            assert service["healthcheck"]["test"], name


def test_workers_share_the_home_of_a_server_that_only_accepts() -> None:
    services = compose()["services"]
    server, worker = services["server"], services["worker"]
    assert words(server["command"]) == [*IMAGE.words("CMD")]
    assert words(server["command"], SLUICEGATE_SERVE="--no-work")[-1] == "--no-work"
    assert worker["profiles"] == ["workers"]
    assert worker["volumes"] == server["volumes"]
    assert worker["environment"] == server["environment"]
    command = words(worker["command"])
    drain = int(command[command.index("--drain") + 1])
    minutes, seconds = re.fullmatch(r"(\d+)m(\d+)s", worker["stop_grace_period"]).groups()  # type: ignore[union-attr]
    assert int(minutes) * 60 + int(seconds) > drain + 60
    port = command[command.index("--port") + 1]
    assert f"http://127.0.0.1:{port}/readyz" in worker["healthcheck"]["test"][-1]
    assert "ports" not in worker


def words(command: str, **variables: str) -> list[str]:
    """A command of the compose file, with the variables that `.env` has."""
    return shlex.split(re.sub(r"\$\{(\w+):-(\w*)\}", lambda found: variables.get(found[1], found[2]), command))


def test_what_the_image_copies_is_what_the_build_needs() -> None:
    lines = [line.split() for line in IMAGE.lines if line.startswith("COPY ") and "--from" not in line]
    copied = {word for line in lines for word in line[1:-1]}
    assert all((ROOT / each).exists() for each in copied)
    ignored = (CONTAINERFILE.with_name("Containerfile.dockerignore")).read_text().split()
    assert {each.removeprefix("!") for each in ignored if each.startswith("!")} == copied
    links = {path.name: path.resolve() for path in (ROOT / "src" / "sluicegate").iterdir() if path.is_symlink()}
    assert {path.relative_to(ROOT).as_posix() for path in links.values()} <= copied


@pytest.fixture
def volumes(tmp_path: Path) -> dict[Path, str]:
    """The volume of the home, and what the image has."""
    if why := possible():
        pytest.skip(why)
    volume, weights = tmp_path / "volume", tmp_path / "weights"
    volume.mkdir()
    shutil.chown(volume, 10001, 10001)
    # the image has weights and nothing else in its cache, and they are root's
    (weights / "models").mkdir(parents=True)
    for each in (cache_dir() / "models").glob("*.gguf*"):
        (weights / "models" / each.name).hardlink_to(each)
    (tmp_path / "scratch").mkdir()
    return {
        volume: IMAGE.of("VOLUME"),
        weights: IMAGE.environment()["SLUICEGATE_CACHE"],
        WORKFLOWS: "/workflows",
        INSTALLED: "/opt/sluicegate",
    }


@pytest.mark.slow
def test_what_it_starts_serves_and_ends(volumes: dict[Path, str], tmp_path: Path) -> None:
    scratch, (volume, *_) = tmp_path / "scratch", volumes
    environment = {**IMAGE.environment(), "OLLAMA_HOST": "http://127.0.0.1:1"}
    prepare = compose()["services"]["prepare"]["entrypoint"]
    # there is no Ollama here to pull models
    words = [prepare[-1].replace("models pull /workflows", "models pull smollm2-135m all-minilm-l6-v2")]
    prepared = contained(scratch, [*prepare[:-1], *words], environment, volumes)
    said, wrong = prepared.communicate(timeout=240)
    assert prepared.returncode == 0, said + wrong

    tokens = TokenFile(volume / "tokens.json")
    token = tokens.add("ann", Named(id="ann", roles=["employee"]))
    for file in volume.glob("tokens.json*"):
        shutil.chown(file, 10001, 10001)
    # any free port, since another program may have that one
    command = ["0" if word == "8080" else word for word in (*IMAGE.words("ENTRYPOINT"), *IMAGE.words("CMD"))]
    server = contained(scratch, command, environment, volumes)
    try:
        port = _port(server)
        health = [word.replace(":8080/", f":{port}/") for word in IMAGE.words("HEALTHCHECK")]
        watched = contained(scratch, health, environment, volumes)
        assert (*watched.communicate(timeout=60), watched.returncode) == ("", "", 0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {token}"}) as client:
            assert client.get("/readyz").status_code == 200
            asked = client.post("/v1/runs", json={"text": "How many cents does a colour page cost?"}, timeout=120)
            assert asked.json()["status"] == "answered", asked.json()
    finally:
        server.send_signal(getattr(signal, IMAGE.of("STOPSIGNAL")))
        _, said = server.communicate(timeout=120)
    assert server.returncode == 0, said
    home = volume / Path(environment["SLUICEGATE_HOME"]).name
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert home.stat().st_uid == 10001


def _port(server: subprocess.Popen[str]) -> str:
    """The port that it says it has."""
    said = ""
    assert server.stderr is not None
    for line in server.stderr:
        said += line
        if found := re.search(r"served at http://[\d.]+:(\d+)", line):
            return found[1]
    raise AssertionError(said)
