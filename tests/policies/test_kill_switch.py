"""What is switched off is off everywhere, at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from sluicegate.errors import BudgetError, RunError
from sluicegate.policies.cedar.engine import load_engine
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.state import Principal

ALICE: Principal = {"id": "alice", "roles": [], "groups": [], "clearance": "public"}
ASK = {"intent": "reset", "risk": "low", "channel": "cli", "hour": 9, "data_classes": []}


@pytest.fixture
def switch(each_place: str) -> KillSwitch:
    return KillSwitch()


@pytest.fixture
def file(own_home: Path) -> Path:
    return own_home / "switches.json"


def test_nothing_is_off_at_first(switch: KillSwitch) -> None:
    assert switch.check(model="openai:m", intent="reset", workflow="helpdesk") is None
    assert switch.entries() == []


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("model:openai:gpt-5-mini", "model:openai:gpt-5"),
        ("intent:reset", "intent:rese"),
        ("workflow:helpdesk", "workflow:Helpdesk"),
    ],
)
def test_off_and_on(switch: KillSwitch, name: str, other: str) -> None:
    names = {"model": "openai:gpt-5-mini", "intent": "reset", "workflow": "helpdesk"}
    switch.off(other, reason="another", by="op")
    assert switch.check(**names) is None
    switch.off(name, reason="leaks data", by="op")
    found = switch.check(**names)
    assert found is not None
    assert (found.name, found.reason, found.by) == (name, "leaks data", "op")
    assert [entry.name for entry in switch.entries()] == sorted([name, other])
    assert switch.on(name)
    assert not switch.on(name)
    assert switch.check(**names) is None


def test_a_star_is_everything_of_a_kind(switch: KillSwitch) -> None:
    switch.off("model:*", reason="key leaked", by="op")
    assert switch.check(model="any:thing")
    assert switch.check(intent="reset") is None


@pytest.mark.parametrize("name", ["modle:x", "x", "model:", "", "*"])
def test_other_names_are_refused(switch: KillSwitch, name: str) -> None:
    with pytest.raises(BudgetError, match="cannot be switched") as caught:
        switch.off(name, reason="", by="op")
    assert caught.value.code == "SG502"


WATCH = """
import sys
from sluicegate.policies.kill_switch import KillSwitch
switch = KillSwitch()
for model in sys.stdin:
    print("off" if switch.check(model=model.strip()) else "on", flush=True)
"""


@pytest.mark.slow
def test_a_running_process_sees_it_at_its_next_check(own_home: Path) -> None:
    switch = KillSwitch()
    command = [sys.executable, "-c", WATCH]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin
        assert process.stdout

        def checked() -> str:
            process.stdin.write("m\n")  # type: ignore[union-attr]
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        seen = [checked()]
        switch.off("model:m", reason="now", by="op")
        seen.append(checked())
        switch.on("model:m")
        assert [*seen, checked()] == ["on", "off", "on"]


@pytest.mark.slow
def test_two_writers_lose_nothing(switch: KillSwitch) -> None:
    code = (
        "import sys; from sluicegate.policies.kill_switch import KillSwitch\n"
        "switch = KillSwitch()\n"
        "for n in range(20): switch.off(f'intent:{sys.argv[1]}{n}', reason='r', by='b')"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert len(switch.entries()) == 40


def test_who_was_slower_changes_nothing(switch: KillSwitch) -> None:
    first = switch.off("model:m", reason="mine", by="op", once=True)
    with pytest.raises(RunError) as caught:
        switch.off("model:m", reason="theirs", by="other", once=True)
    assert caught.value.code == "SG605"
    assert not switch.on("model:m", since="2026-01-01T00:00:00+00:00")
    assert KillSwitch().entries() == [first]
    assert switch.on("model:m", since=first.at)


def test_a_file_that_cannot_be_read_switches_everything_off(file: Path) -> None:
    switch = KillSwitch(file)
    file.parent.mkdir()
    file.write_text('[{"name": "model:m"', "utf-8")
    found = switch.check(intent="reset")
    assert found is not None
    assert "cannot be read, so everything is treated as off" in found.reason
    with pytest.raises(RunError) as caught:
        switch.on("model:m")
    assert caught.value.code == "SG606"
    file.unlink()
    assert switch.check(intent="reset") is None


def test_the_file_is_read_only_when_it_has_changed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = KillSwitch(file)
    switch.off("model:other", reason="r", by="b")
    reads: list[Path] = []
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, *a, **k: (reads.append(path), real(path, *a, **k))[1])
    for _ in range(100):
        switch.check(model="m", intent="i", workflow="w")
    assert reads == [file]
    KillSwitch(file).off("model:m", reason="r", by="b")
    reads.clear()
    assert all(switch.check(model="m") for _ in range(100))
    assert reads == [file]


@pytest.mark.parametrize("name", ["workflow:helpdesk", "intent:reset"])
def test_policies_deny_what_is_switched_off(switch: KillSwitch, name: str) -> None:
    engine = load_engine(switch=switch)
    workflow = {"type": "Workflow", "id": "helpdesk"}
    assert engine.decide(ALICE, "ask", workflow, ASK).allowed
    switch.off(name, reason="wrong answers", by="op")
    decision = engine.decide(ALICE, "ask", workflow, ASK)
    assert not decision.allowed
    assert decision.rules == (f"switch:{name}",)
    assert decision.reason == f"{name} is switched off: wrong answers"


def test_policies_deny_a_model_that_is_switched_off(switch: KillSwitch) -> None:
    engine = load_engine(switch=switch)
    switch.off("model:openai:m", reason="r", by="op")
    assert not engine.decide(ALICE, "use_model", {"type": "Model", "id": "openai:m"}, {}).allowed
    assert engine.decide(ALICE, "use_model", {"type": "Model", "id": "ollama:m"}, {}).allowed
