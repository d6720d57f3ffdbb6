"""Traces of several machines on one server: a run is read whole on each, and none is lost when the server is away."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RunError
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.reading.filters import RunFilter, Sight
from sluicegate.observe.tracing.reading.pages import last_change, page_of_runs, requesters
from sluicegate.observe.tracing.reading.usage import daily_use, usage
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.observe.tracing.spans import Score
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.delivery import TraceDelivery
from sluicegate.observe.tracing.storing.shared import SharedStore, open_store
from sluicegate.observe.tracing.storing.unsent import Unsent
from sluicegate.observe.tracing.storing.writes import Writes
from sluicegate.observe.tracing.tracer import RecordingTracer
from sluicegate.storage.postgres import configured
from tests.support.scenario import KEY, first_stretch, last_stretch, segment

Machine = Callable[[str], Path]


@pytest.fixture
def machine(each_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Go on as on the machine of this name; its home. Without a server there is one machine."""

    def on(name: str) -> Path:
        folder = tmp_path / (name if each_place == "server" else "home")
        folder.mkdir(exist_ok=True)
        monkeypatch.setenv("SLUICEGATE_HOME", str(folder))
        return folder

    return on


@pytest.fixture
def server(postgres: str, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    own_home.mkdir(exist_ok=True)
    return postgres


def tracer_of(store: Store) -> RecordingTracer:
    return RecordingTracer(store, masking=Masking(TraceSettings(environment="staging", release="r1"), key=KEY))


def everything(run: str) -> dict[str, Any]:
    """What the command, the console and the fits read."""
    day = RunFilter()
    with closing(open_store()) as store:
        return {
            "row": store.run(run[:6]),
            "spans": [span | {"seq": 0} for span in store.spans(run)],
            "decisions": [one | {"seq": 0} for one in store.decisions(run)],
            "calls": [one | {"seq": 0} for one in store.model_calls(run)],
            "scores": [score | {"seq": 0} for score in store.scores(run)],
            "listed": store.runs(RunFilter(workflow="helpdesk", since_ns=1, within=(Sight("helpdesk"),))),
            "page": page_of_runs(store, day).rows,
            "people": requesters(store),
            "usage": usage(store),
            "days": daily_use(store, day),
            "confidences": store.confidences("helpdesk"),
            "shares": store.days_of_confidence("helpdesk", since_ns=0, out_of_scope="out_of_scope"),
            "requests": store.requests("helpdesk"),
            "feedback": [row | {"seq": 0} for row in store.feedback()],
            "corrections": store.corrections("helpdesk"),
            "verdicts": store.escalation_verdicts("helpdesk"),
            "decided": store.decided_runs("helpdesk"),
            "undelivered": store.undelivered("langfuse x"),
            "trace": (store.trace(run).info, store.trace(run).scores),
        }


async def test_a_run_of_two_machines_is_read_whole_on_each_of_them(machine: Machine) -> None:
    machine("one")
    with closing(open_store()) as store:
        tracer = tracer_of(store)
        await first_stretch(tracer, "run-1")
        tracer.close()
    machine("two")
    with closing(open_store()) as store:
        tracer = tracer_of(store)
        await last_stretch(tracer, "run-1")
        tracer.feedback("run-1", "user-thumb", True, comment="good", by="ann")
        tracer.feedback("run-1", "correct_intent", "mail", by="ann")
        tracer.feedback("run-1", "needed_large", False, by="lea")
        tracer.close()
    seen = []
    for name in ("one", "two", "three"):
        machine(name)
        seen.append(everything("run-1"))
    assert seen[0] == seen[1] == seen[2]
    found = seen[2]
    assert found["row"]["status"] == "answered"
    roots = [span for span in found["spans"] if not span["parent"]]
    assert [root["attributes"]["status"] for root in roots] == ["answered"]
    assert {"policy-check", "human-interrupt"} & {span["attributes"].get("kind") for span in found["spans"]}
    assert found["decisions"]
    assert found["calls"]
    assert [row["value"] for row in found["feedback"]] == [1, "mail", 0]
    assert [row["label"] for row in found["corrections"]] == ["mail"]
    assert [row["needed"] for row in found["verdicts"]] == [False]
    assert found["usage"]["runs"] == 1


async def test_home_and_server_read_the_same(own_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever differs is of the moment: times, ids."""
    shapes = []
    for place in ("home", "server"):
        if place == "server":
            monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
        with closing(open_store()) as store:
            tracer = tracer_of(store)
            await first_stretch(tracer, "run-1")
            await last_stretch(tracer, "run-1")
            tracer.feedback("run-1", "correct_intent", "mail", by="ann")
            tracer.close()
        shapes.append(shape(everything("run-1")))
    assert shapes[0] == shapes[1]


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [shape(one) for one in value]
    return type(value).__name__ if isinstance(value, int | float) else value if key_like(value) else "text"


def key_like(value: Any) -> bool:
    return value is None or value in ("answered", "helpdesk", "run-1", "mail", "event", "generation")


async def test_a_server_that_is_away_costs_no_run_and_no_trace(
    server: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = threading.Event()
    send = TraceDelivery._send

    def sent(self: TraceDelivery, batch: Any) -> None:
        if away.is_set():
            raise RunError("SG625", "it is away")
        send(self, batch)

    monkeypatch.setattr(TraceDelivery, "_send", sent)
    with closing(open_store()) as store:
        away.set()
        tracer = tracer_of(store)
        await first_stretch(tracer, "run-1")
        with pytest.raises(RunError, match="SG625"):
            store.run("run-1")
        away.clear()
        assert store.run("run-1")["status"] == "waiting"
        tracer.close()
    with closing(Unsent(own_home)) as unsent:
        assert not unsent.any()


async def test_what_a_killed_process_left_is_sent_once_by_the_next(
    server: str, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_store()) as store:
        assert isinstance(store, SharedStore)
        # killed behind the commit on the server, before the home knows of it
        monkeypatch.setattr(store._delivery._unsent, "sent", lambda _numbers: None)
        monkeypatch.setattr(store._delivery._unsent, "first", once(store._delivery._unsent.first))
        tracer = tracer_of(store)
        await first_stretch(tracer, "run-1")
        before = (store.run("run-1")["ms"], len(store.spans("run-1")))
        tracer.close()
    with closing(Unsent(own_home)) as unsent:
        assert unsent.any()
    with closing(open_store()) as store:
        assert (store.run("run-1")["ms"], len(store.spans("run-1"))) == before
    with closing(Unsent(own_home)) as unsent:
        assert not unsent.any()


def once(first: Callable[[int], Any]) -> Callable[[int], Any]:
    """As one delivery after another sees it that forgets what it has sent."""
    asked = [0]

    def found(most: int) -> Any:
        asked[0] += 1
        return first(most) if asked[0] % 2 else []

    return found


async def test_a_late_stretch_does_not_open_a_run_that_has_ended(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first machine was cut off when the second ended its run."""
    homes = [tmp_path / name for name in ("one", "two")]
    for folder in homes:
        folder.mkdir()
    held = threading.Event()
    send = TraceDelivery._send

    def sent(self: TraceDelivery, batch: Any) -> None:
        if held.is_set() and self._folder == homes[0]:
            raise RunError("SG625", "it is away")
        send(self, batch)

    monkeypatch.setattr(TraceDelivery, "_send", sent)
    held.set()
    monkeypatch.setenv("SLUICEGATE_HOME", str(homes[0]))
    one = open_store()
    await first_stretch(tracer_of(one), "run-1")
    monkeypatch.setenv("SLUICEGATE_HOME", str(homes[1]))
    two = open_store()
    await last_stretch(tracer_of(two), "run-1")
    assert two.run("run-1")["status"] == "answered"
    spans = len(two.spans("run-1"))
    held.clear()
    one.settle()
    row = two.run("run-1")
    assert (row["status"], len(two.spans("run-1")) > spans) == ("answered", True)
    one.close()
    two.close()


def test_what_a_server_takes_in_no_text_is_replaced(server: str) -> None:
    with closing(open_store()) as store:
        tracer = tracer_of(store)
        with segment(tracer, "run-1"), tracer.span("odd", "span", zero="a\0b", half="a\ud800b", kept="\\u0000") as span:
            span.warn("a\0b")
        found = next(span for span in store.spans("run-1") if span["name"] == "odd")
        assert found["attributes"]["zero"] == "a\ufffdb"
        assert found["attributes"]["kept"] == "\\u0000"
        assert found["message"] == "a\ufffdb"
        assert store.decisions("run-1") == []
        tracer.close()


async def test_a_home_that_sends_nothing_any_more_is_forgotten_and_may_come_back(server: str) -> None:
    with closing(open_store()) as store:
        tracer = tracer_of(store)
        await first_stretch(tracer, "run-1")
        senders = "SELECT count(*) AS n FROM trace_senders"
        assert store.query(senders)[0]["n"] == 1
        store.prune(0, "helpdesk")
        assert store.query(senders)[0]["n"] == 1
        store.prune(2**62, "another")
        assert store.query(senders)[0]["n"] == 0
        await first_stretch(tracer, "run-2")
        assert {row["run_id"] for row in store.runs()} == {"run-1", "run-2"}


async def test_observations_can_stay_on_their_machine(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLUICEGATE_TRACES", "machine")
    for name, stretch in (("one", first_stretch), ("two", last_stretch)):
        (tmp_path / name).mkdir()
        monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / name))
        with closing(open_store()) as store:
            tracer = tracer_of(store)
            await stretch(tracer, "run-1")
            tracer.close()
    found = {}
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / name))
        with closing(open_store()) as store:
            assert store.run("run-1")["status"] == "answered"
            assert store.scores("run-1")
            found[name] = {span["name"] for span in store.spans("run-1")}
            if name == "three":
                store.write(Writes(scores=[Score("s", "run-1", "correct_intent", "mail", "", 1, source="feedback")]))
                assert [row["label"] for row in store.corrections("helpdesk")] == ["mail"]
    assert found["one"]
    assert found["two"]
    assert not found["one"] & found["two"]
    assert not found["three"]


def test_a_place_that_is_none_is_refused(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_TRACES", "langfuse")
    with pytest.raises(RunError, match="SG715 SLUICEGATE_TRACES is 'langfuse'"):
        open_store()


@pytest.mark.slow
def test_changes_are_numbered_in_the_order_of_their_commits(server: str, tmp_path: Path) -> None:
    """From many machines at a time; a follower that reads meanwhile misses none."""
    where = configured()
    assert where is not None
    deliveries = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        deliveries.append(TraceDelivery(tmp_path / name, where))
    done = threading.Event()
    seen: set[str] = set()
    with closing(open_store()) as store:

        def follow() -> None:
            last = 0
            while True:
                ended = done.is_set()
                for row in store.query("SELECT seq, run_id FROM changes WHERE seq > ? ORDER BY seq", (last,)):
                    seen.add(row["run_id"])
                    last = row["seq"]
                if ended:
                    return

        def record(number: int) -> None:
            for run in range(30):
                row = [f"{number}-{run}", "t", "w", "1", "d", "u", "", "", "", 0, 1, "", "{}", "[]"]
                deliveries[number].add({"begun": [row], "changed": [row[0]]})
                deliveries[number].deliver()

        follower = threading.Thread(target=follow)
        follower.start()
        writers = [threading.Thread(target=record, args=(number,)) for number in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        done.set()
        follower.join()
        assert len(seen) == 90
        assert last_change(store) == 90
    for delivery in deliveries:
        delivery.end()
