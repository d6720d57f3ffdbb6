"""What is decided on one machine is known on all of them within a second, and what cannot be known is taken as off."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.storage import following
from sluicegate.storage.documents import FileDocument, SmallDocument, document
from sluicegate.storage.postgres import Server, configured, server


def _first(shared: str | None, own: str) -> str:
    return own if shared is None else shared


@pytest.fixture
def shared(postgres: str, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> Server:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    found = configured()
    assert found
    return found


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets time pass for those who judge how old their knowledge is."""
    passed, real = [0.0], following._elapsed  # type: ignore[reportPrivateUsage]
    monkeypatch.setattr(following, "_elapsed", lambda: real() + passed[0])

    def passes(seconds: float) -> None:
        passed[0] += seconds

    return passes


def test_what_is_written_is_read_by_all_who_read_next(each_place: str) -> None:
    one, other = document("notes", _first), document("notes", _first)
    assert one.read() is None
    with one.changing() as draft:
        assert draft.text is None
        draft.text = "a"
    assert (one.read(), other.read()) == ("a", "a")
    assert other.read() is other.read()
    with pytest.raises(ValueError, match="no"):
        _changed_and_undone(other)
    assert one.read() == "a"


def _changed_and_undone(at: SmallDocument) -> None:
    with at.changing() as draft:
        draft.text = "b"
        raise ValueError("no")


def test_of_many_who_change_it_none_is_lost(each_place: str) -> None:
    def add(word: str) -> None:
        for number in range(5):
            with document("notes", _first).changing() as draft:
                draft.text = json.dumps([*json.loads(draft.text or "[]"), f"{word}{number}"])

    threads = [threading.Thread(target=add, args=(word,)) for word in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    words = json.loads(document("notes", _first).read() or "")
    assert sorted(words) == sorted(f"{word}{number}" for word in "abcd" for number in range(5))
    assert [word for word in words if word.startswith("a")] == [f"a{number}" for number in range(5)]


WAITS = """
import sys, time
from sluicegate.policies.kill_switch import KillSwitch
switch = KillSwitch()
print(switch.check(model="m"), flush=True)
while not (found := switch.check(model="m")):
    time.sleep(0.01)
print(found.reason, flush=True)
"""


@pytest.mark.slow
def test_a_switch_takes_effect_in_a_process_of_another_machine(shared: Server, tmp_path: Path) -> None:
    there = {**os.environ, "SLUICEGATE_HOME": str(tmp_path / "other")}
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True, env=there) as process:
        assert process.stdout
        assert process.stdout.readline().strip() == "None"
        KillSwitch().off("model:m", reason="leaks", by="op")
        assert process.stdout.readline().strip() == "leaks"


def test_a_check_waits_for_no_server(shared: Server) -> None:
    switch = KillSwitch()
    switch.off("model:other", reason="r", by="op")
    queries: list[str] = []
    followed = following.follower(shared)
    followed._read_since = lambda moment: queries.append("read")  # type: ignore[assignment, reportPrivateUsage]
    assert [switch.check(model="m") for _ in range(200)] == [None] * 200
    assert queries == []


def test_a_switch_has_the_time_of_the_server(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with shared.connection() as connection:
        (now,) = connection.execute("SELECT now() - interval '1 minute' AS earlier").fetchone().values()
    monkeypatch.setattr("sluicegate.storage.documents.datetime", None)
    entry = KillSwitch().off("model:m", reason="r", by="op")
    assert entry.at > now.isoformat()


@pytest.fixture
def outage(postgres_server: str, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> Iterator[Callable[[bool], None]]:
    """A database that can be made to refuse everybody."""
    import uuid
    from urllib.parse import urlsplit

    import psycopg

    name = f"o{uuid.uuid4().hex}"
    url = urlsplit(postgres_server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(postgres_server, autocommit=True) as connection:

        def refuse(whether: bool) -> None:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not whether}")  # type: ignore[arg-type]
            if whether:
                ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
                connection.execute(ended, (name,))

        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        monkeypatch.setenv("SLUICEGATE_DATABASE_URL", url)
        yield refuse
        server(url).close()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def test_without_the_server_everything_is_off_until_it_is_back(
    outage: Callable[[bool], None], passing: Callable[[float], None]
) -> None:
    switch = KillSwitch()
    switch.off("intent:refund", reason="r", by="op")
    assert switch.check(model="m") is None
    outage(True)
    passing(following.TRUSTED_S)
    found = switch.check(model="m")
    assert found
    assert "could not be read for 1 s" in found.reason
    with pytest.raises(RunError) as raised:
        switch.on("intent:refund")
    assert raised.value.code == "SG625"
    outage(False)
    back = threading.Event()
    for _ in range(500):
        if switch.check(model="m") is None:
            break
        back.wait(0.02)
    assert switch.check(model="m") is None
    assert switch.check(intent="refund")


def test_one_check_waits_for_a_server_that_hangs_and_the_others_do_not(
    shared: Server, passing: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch, waits = KillSwitch(), list[Any]()
    assert switch.check(model="m") is None
    followed = following.follower(shared)
    real = followed._turn.wait_for  # type: ignore[reportPrivateUsage]

    def noted(predicate: Callable[[], Any], timeout: float) -> Any:
        if threading.current_thread() is threading.main_thread() and not predicate():
            waits.append(timeout)
        return real(predicate, timeout)

    monkeypatch.setattr(followed._turn, "wait_for", noted)  # type: ignore[reportPrivateUsage]
    with shared.connection() as other, other.transaction():
        other.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        passing(following.TRUSTED_S + 1)
        reasons = [found.reason if (found := switch.check(model="m")) else "on" for _ in range(50)]
    assert set(reasons) == {reasons[0]}
    assert "does not answer" in reasons[0]
    assert waits == [0.5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_follows_by_itself(shared: Server) -> None:
    switch = KillSwitch()
    assert switch.check(model="m") is None
    seen, told = os.pipe()
    child = os.fork()
    if not child:
        following._elapsed = lambda real=following._elapsed: real() + 5.0  # type: ignore[reportPrivateUsage]
        os.write(told, b"on" if switch.check(model="m") is None else b"off")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert os.read(seen, 10) == b"on"
    os.close(seen)
    os.close(told)


def test_switches_of_a_home_move_to_the_server_and_stay_off(
    own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    KillSwitch().off("model:mine", reason="r", by="op")
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "other"))
    KillSwitch().off("model:theirs", reason="r", by="op")
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    assert [each.name for each in KillSwitch().entries()] == ["model:theirs"]
    monkeypatch.setenv("SLUICEGATE_HOME", str(own_home))
    assert [each.name for each in KillSwitch().entries()] == ["model:mine", "model:theirs"]
    KillSwitch().on("model:mine")
    assert KillSwitch().check(model="mine") is None, "it moves once"
    assert (own_home / "switches.json.moved").is_file()


def test_corrupt_switches_of_a_home_are_not_left_behind(
    own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_home.mkdir()
    (own_home / "switches.json").write_text("[{")
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    with pytest.raises(RunError) as raised:
        KillSwitch()
    assert raised.value.code == "SG606"


def test_a_file_without_rights_is_said(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    file = FileDocument(own_home / "x.json")
    monkeypatch.setattr(Path, "stat", denied)
    with pytest.raises(RunError, match="Permission denied") as raised:
        file.read()
    assert raised.value.code == "SG607"
