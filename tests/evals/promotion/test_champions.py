"""Which version serves: atomic, audited, seen by processes that run."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sluicegate.errors import RunError
from sluicegate.evals.promotion import champions
from sluicegate.home import home
from sluicegate.observe.audit.log import open_audit

OLD, NEW, NEWER = (Path("old.yaml"), "d-old"), (Path("new.yaml"), "d-new"), (Path("newer.yaml"), "d-newer")


@pytest.fixture
def pointer(each_place: str, own_home: Path) -> str:
    """Where the pointer is: in the home, or on a server, which has the three versions as another machine kept them."""
    if each_place == "server":
        keep(OLD, NEW, NEWER)
    return each_place


def keep(*versions: tuple[Path, str]) -> None:
    for name, digest in versions:
        folder = home() / "versions" / digest[:16]
        (folder / "files").mkdir(parents=True, exist_ok=True)
        (folder / "files" / name).write_text("name: desk\n")
        origin = {"workflow": "desk", "file": str(name), "digest": digest, "start": str(name)}
        (folder / "origin.json").write_text(json.dumps(origin))


def promote(version: tuple[Path, str], before: tuple[Path, str] = OLD) -> champions.ServedVersion:
    return champions.promote(
        "desk", path=version[0], digest=version[1], before=before, by="ops", facts={"pairs": 3, "reason": "better"}
    )


def serving() -> str:
    found = champions.champion("desk")
    return found.name if found else "-"


def test_promote_and_roll_back_step_by_step(own_home: Path, pointer: str) -> None:
    assert serving() == "-"
    assert promote(NEW)["version"] == 2
    assert promote(NEW)["version"] == 2
    promote(NEWER, NEW)
    assert serving() == "newer.yaml"
    assert champions.rollback("desk", by="ops", reason="slow")["version"] == 4
    assert serving() == "new.yaml"
    champions.rollback("desk", by="ops", reason="slow still")
    assert serving() == "old.yaml"
    with pytest.raises(RunError) as raised:
        champions.rollback("desk", by="ops", reason="no")
    assert raised.value.code == "SG618"
    assert [entry["action"] for entry in champions.history("desk")] == [
        "start", "promote", "promote", "rollback", "rollback",
    ]  # fmt: skip


def test_who_was_slower_changes_nothing(own_home: Path, pointer: str) -> None:
    """A form that was sent twice, or a page of before another's change."""
    given = {"before": OLD, "by": "ops", "facts": {"reason": "better"}}
    champions.promote("desk", path=NEW[0], digest=NEW[1], serving=0, **given)  # type: ignore[arg-type]
    assert champions.promote("desk", path=NEW[0], digest=NEW[1], serving=0, **given)["version"] == 2  # type: ignore[arg-type]
    champions.rollback("desk", by="ops", reason="slow", serving=2)
    for again in (
        lambda: champions.rollback("desk", by="ops", reason="slow", serving=2),
        lambda: champions.promote("desk", path=NEW[0], digest=NEW[1], serving=0, **given),  # type: ignore[arg-type]
    ):
        with pytest.raises(RunError) as raised:
            again()
        assert raised.value.code == "SG605"
    assert [entry["action"] for entry in champions.history("desk")] == ["start", "promote", "rollback"]


def test_nothing_to_roll_back_to(own_home: Path, pointer: str) -> None:
    with pytest.raises(RunError, match="no previous version"):
        champions.rollback("desk", by="ops", reason="no")


def test_every_change_is_in_the_audit_log(own_home: Path) -> None:
    promote(NEW)
    champions.rollback("desk", by="ops", reason="it was rude to Ann")
    lines = "".join(path.read_text() for path in sorted((own_home / "audit").glob("audit-*.jsonl")))
    assert lines.count('"champion.promote"') == 1
    assert lines.count('"champion.rollback"') == 1
    assert '"d-new"' in lines
    assert "rude" not in lines
    assert open_audit().head[0] == 2


def test_what_cannot_be_audited_does_not_happen(own_home: Path, pointer: str) -> None:
    promote(NEW)
    log = next((own_home / "audit").glob("audit-*.jsonl"))
    log.write_text(log.read_text().replace("d-new", "d-odd"))
    log.write_text(log.read_text() + "{}\n{}\n")
    with pytest.raises(RunError):
        champions.rollback("desk", by="ops", reason="no")
    assert serving() == "new.yaml"


@pytest.mark.slow
def test_a_running_process_follows(own_home: Path) -> None:
    script = (
        "import sys\nfrom sluicegate.evals.promotion.champions import champion\n"
        "for _ in sys.stdin:\n    found = champion('desk')\n    print(found.name if found else '-', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    ) as process:
        assert process.stdin
        assert process.stdout

        def asked() -> str:
            process.stdin.write("?\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        assert asked() == "-"
        promote(NEW)
        assert asked() == "new.yaml"
        assert asked() == "new.yaml"
        champions.rollback("desk", by="ops", reason="slow")
        assert asked() == "old.yaml"
        process.stdin.close()


def test_another_machine_serves_its_own_copy_of_a_promoted_version(
    own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    keep(OLD, NEW)
    promote(NEW)
    there = champions.history("desk")
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "other"))
    assert champions.history("desk") == there
    found = champions.champion("desk")
    assert found == tmp_path / "other" / "versions" / "d-new" / "files" / "new.yaml"
    assert found.read_text() == "name: desk\n"
    champions.rollback("desk", by="ops", reason="slow")
    assert champions.champion("desk") == tmp_path / "other" / "versions" / "d-old" / "files" / "old.yaml"
    assert champions.withdrawn("desk", "d-new")


def test_a_version_that_others_cannot_have_is_not_promoted(
    own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    keep(OLD)
    with pytest.raises(RunError) as raised:
        promote(NEW)
    assert raised.value.code == "SG604"
    assert champions.history("desk") == []


def test_the_pointer_of_a_home_moves_to_the_server_once(
    own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keep(OLD, NEW)
    promote(NEW)
    before = champions.history("desk")
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    assert champions.history("desk") == before
    assert [path.name for path in (own_home / "champions").glob("*.moved")] == ["desk.json.moved"]
    champions.rollback("desk", by="ops", reason="slow")
    # a second machine, with another idea of what serves, follows the first
    monkeypatch.delenv("SLUICEGATE_DATABASE_URL")
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "other"))
    promote(NEWER)
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    assert [entry["action"] for entry in champions.history("desk")] == ["start", "promote", "rollback"]


@pytest.mark.slow
def test_readers_never_see_half_a_pointer(own_home: Path) -> None:
    promote(NEW)
    stop, faults = threading.Event(), list[str]()

    def read() -> None:
        while not stop.is_set():
            try:
                json.loads((own_home / "champions" / "desk.json").read_text())
            except ValueError as error:
                faults.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(20):
        promote((Path(f"v{number}.yaml"), f"d{number}"), NEW)
    stop.set()
    reader.join()
    assert faults == []
    assert champions.history("desk")[-1]["version"] == 22


def test_a_corrupt_pointer_is_said(own_home: Path) -> None:
    promote(NEW)
    (own_home / "champions" / "desk.json").write_text("{")
    with pytest.raises(RunError) as raised:
        champions.champion("desk")
    assert raised.value.code == "SG606"
