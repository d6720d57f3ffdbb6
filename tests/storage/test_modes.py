"""A home is its owner's alone, whatever the umask: every folder 0700, every file 0600."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.errors import ConfigError, RunError
from sluicegate.evals.evaluation.result_store import ResultStore
from sluicegate.evals.promotion import champions
from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.graphs.config.overlays import variant
from sluicegate.home import home
from sluicegate.nodes.tools.mcp import servers
from sluicegate.observe.audit.log import open_audit
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.serving.http.callers import Named, TokenFile
from tests.support.redacting import ANN, OWN, Desk


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """What others may do anything with, by its mode."""
    every = [folder, *folder.rglob("*")]
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in every}
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_workflow_from_its_first_command_to_its_trace(tmp_path: Path, own_home: Path) -> None:
    def command(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "sluicegate", *words],
            capture_output=True, text=True, check=False, cwd=tmp_path, umask=0,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    command("init", "desk")
    workflow = "configs/desk/workflow.yaml"
    command("ingest", workflow)
    command("router", "fit", workflow)
    command("run", workflow, "When are you open?", "--as", "ann", "--role", "employee")
    command("trace", "list")
    command("audit", "checkpoint")
    command("budget", "switch", "off", "model:x", "--reason", "test")
    assert names(own_home) >= {
        *("store.sqlite", "checkpoints.sqlite", "ledger.sqlite", "cache.sqlite", "catalog.sqlite", "payloads.sqlite"),
        *(
            "approvals.sqlite",
            "tools.sqlite",
            "incidents.sqlite",
            "lock.sqlite",
            "audit.pem",
            "public.pem",
            "trace.key",
        ),
        *("audit-000001.jsonl", "checkpoints.jsonl", "head", ".lock", "runs.lock", "switches.json", "switches.lock"),
    }
    assert any(path.suffix == ".lance" for path in own_home.rglob("*")), "the table of an index"
    assert open_to_others(own_home) == {}


@pytest.mark.usefixtures("no_umask")
def test_while_its_files_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path / "desk", monkeypatch)
    opened = desk.opened()
    asyncio.run(opened.runner.run(f"Write to {OWN}", ANN))
    variant(opened.workflow, prompts={"answer": "---\nid: answer\nversion: 2\n---\n{{question}}"})
    before = (desk.file, opened.workflow.digest)
    champions.promote("desk", path=desk.file, digest="other", before=before, by="op", facts={})
    kept = (ResultStore(), PairStore())
    KillSwitch().off("model:x", reason="test", by="op")
    assert {
        "store.sqlite-wal",
        "store.sqlite-shm",
        "results.sqlite",
        "shadow.sqlite",
        "variants",
        "champions",
    } <= names(home())
    assert open_to_others(home()) == {}
    for store in kept:
        store.close()
    opened.tracer.close()


def test_a_loose_home_is_tightened_when_it_is_opened(own_home: Path) -> None:
    log = open_audit()
    log.append("test")
    log.close()
    (own_home / "indexes" / "desk").mkdir(parents=True)
    (own_home / "indexes" / "desk" / "data.lance").write_text("")
    outside = own_home.parent / "outside"
    outside.write_text("")
    (own_home / "link").symlink_to(outside)
    for path in (own_home, *own_home.rglob("*"), outside):
        path.chmod(0o777 if path.is_dir() else 0o644)
    assert home() == own_home
    # the signing key is not made to look as if nobody had read it
    assert open_to_others(own_home) == {
        "link": "0o777", "keys": "0o777", "keys/audit.pem": "0o644",
    }  # fmt: skip
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def given_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, as far as this process can see."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


class TestAHomeFoundUpwards:
    @pytest.fixture
    def project(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "inner").mkdir()
        monkeypatch.chdir(tmp_path / "inner")
        monkeypatch.delenv("SLUICEGATE_HOME")
        monkeypatch.delenv("SUDO_UID", raising=False)
        return tmp_path

    def test_is_used_when_it_is_the_users_own(self, project: Path) -> None:
        (project / ".sluicegate").mkdir()
        assert home() == project / ".sluicegate"

    @pytest.mark.parametrize("linked", [False, True])
    def test_is_refused_when_it_is_somebody_elses(
        self, linked: bool, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = project / ".sluicegate"
        if linked:
            (project / "own").mkdir()
            found.symlink_to(project / "own")
        else:
            found.mkdir()
        given_away(found, monkeypatch)
        with pytest.raises(RunError, match=r"SG630 .*\.sluicegate belongs to another user") as error:
            home()
        assert str(found) in str(error.value.hint)
        # who says so in as many words may use it
        monkeypatch.setenv("SLUICEGATE_HOME", str(found))
        assert home() == found

    @pytest.mark.skipif(os.geteuid() != 0, reason="what root sees after sudo")
    def test_is_used_by_root_for_the_user_who_called_sudo(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (project / ".sluicegate").mkdir()
        given_away(project / ".sluicegate", monkeypatch)
        monkeypatch.setenv("SUDO_UID", "12345")
        assert home() == project / ".sluicegate"


@pytest.mark.parametrize("fault", ["belongs to another user", "writable by other users"])
class TestAFileThatSaysWhatMayRun:
    """Who may write it decides what this user's processes start, or who may call them."""

    def spoil(self, file: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if fault == "writable by other users":
            file.chmod(0o666)
        else:
            given_away(file, monkeypatch)

    def test_mcp_json(self, fault: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = home() / "mcp.json"
        file.write_text('{"mcpServers": {"desk": {"command": "true"}}}')
        file.chmod(0o600)
        assert [*servers()] == ["desk"]
        self.spoil(file, fault, monkeypatch)
        # a loose home is tightened, but that does not wash the file
        own_home.chmod(0o777)
        home()
        with pytest.raises(ConfigError, match=f"SG117 not trusted: it (is )?{fault}"):
            servers()

    def test_tokens_json(self, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = TokenFile(tmp_path / "tokens.json")
        file.add("web", Named(id="ann"))
        self.spoil(file.path, fault, monkeypatch)
        with pytest.raises(RunError, match=f"SG623 .*it (is )?{fault}"):
            TokenFile(file.path).tokens()
