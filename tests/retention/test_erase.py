"""A person is erased from every store; what must stay stays without them."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sluicegate.cli import audit as audit_command
from sluicegate.errors import RunError
from sluicegate.evals.promotion import champions
from sluicegate.graphs.config.load import load
from sluicegate.graphs.config.overlays import variant
from sluicegate.graphs.runtime import run_lock
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.versions import keep
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.home import home
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.audit.verify import verify
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.spans import Record
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.observe.tracing.storing.writes import Writes
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.factory import open_ledger
from sluicegate.policies.rates.limiter import RateLimiter
from sluicegate.policies.rates.rate import Rate
from sluicegate.retention.erase import erase, mentions
from sluicegate.services import Ledger, Reservation
from sluicegate.serving.links.links import make_link
from sluicegate.serving.links.rows import LinkRows
from sluicegate.serving.webhooks.outbox import Announcement, Outbox
from sluicegate.storage.database import Database, open_database, place
from sluicegate.storage.schemas import APPROVALS, LEDGER, SHADOW, TICKETS, TOOL_CALLS
from sluicegate.storage.sqlite import connect
from tests.support.raw_bytes import readable
from tests.support.redacting import Desk

ZOE = principal("zoe.quist", ["employee", "lead"])
BEN = principal("ben", ["employee"])
LEA = principal("lea", ["lead"])

# typer imports a name that its newest click announces to remove
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in Click:DeprecationWarning")


SAID = ("my salary is 4711 crowns", "because of zoe's cat Mimi", "the parrot was right")
"""What zoe wrote: a request, a reason, a comment."""


class Story:
    """Zoe asks, decides and judges; Ben asks too. Everything is written as the product writes it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def play(self) -> None:
        desk, opened = self.desk, self.desk.opened()
        runner, ledger = opened.runner, open_ledger(opened.workflow.config.budget)
        desk.says("The gate opens at nine.")
        self.answered = (await runner.run(SAID[0], ZOE)).run
        desk.router.label = "risky"
        self.approved = (await runner.run(f"{SAID[0]} twice", ZOE)).run
        await runner.decide(self.approved, "approve", LEA)
        self.waiting = (await runner.run(f"{SAID[0]} thrice", ZOE)).run
        self.bens = (await runner.run("When does the gate open?", BEN)).run
        await runner.decide(self.bens, "approve", ZOE, reason=SAID[1])
        opened.tracer.feedback(self.bens, "helpful", True, comment=SAID[2], by=ZOE["id"])
        opened.tracer.feedback(self.answered, "helpful", False, comment="no", by=BEN["id"])
        for run, who in ((self.answered, ZOE), (self.bens, BEN)):
            await _book(ledger, run, who["id"])
        with closing(RateLimiter()) as rates:
            await rates.book_person(ZOE["id"], "desk", Rate.of("9 per hour"))
        opened.tracer.close()
        KillSwitch().off("model:x", reason="test", by=ZOE["id"])
        before = (desk.file, opened.workflow.digest)
        other = load(variant(opened.workflow, prompts={"answer": "---\nid: answer\nversion: 2\n---\n{{question}}"}))
        keep(other, present=False)
        champions.promote("desk", path=other.path, digest=other.digest, before=before, by=ZOE["id"], facts={})
        self.beside()
        desk.router.label = "risky"
        bens = (await runner.run("When does the gate close?", BEN)).run
        for run, who, by in ((self.waiting, LEA, "ops"), (bens, ZOE, "ops"), (bens, LEA, ZOE["id"])):
            await make_link(runner, run, who, by=by)
        with closing(Outbox()) as outbox:
            for run, data in ((self.waiting, {"texts": SAID[0]}), (self.bens, {"by": ZOE["id"]})):
                outbox.add(Announcement("approval.decided", (run,), "desk", run, "2026-11-27", data), ["ops"])

    def beside(self) -> None:
        """What tools and comparisons write by the run."""
        with _store(TOOL_CALLS) as store, store.writing() as execute:
            for run, result in ((self.answered, SAID[0]), (self.bens, "something else")):
                execute("INSERT INTO tool_calls VALUES (?, 'find', ?, ?, 1.0)", (f"key {run}", run, json.dumps(result)))
        with closing(connect(home() / "tickets.sqlite", TICKETS)) as tickets:
            row = "INSERT INTO tickets (key, run, title, category, urgency, details) VALUES (?, ?, ?, 'a', 'low', '')"
            tickets.execute(row, ("1", self.answered, SAID[0]))
        with _store(SHADOW) as store, store.writing() as execute:
            row = "INSERT INTO pairs (shadow, champion_run, day, usd, pair) VALUES (1, ?, '2026-01-01', 0, ?)"
            execute(row, (self.answered, json.dumps({"answer": SAID[0]})))


async def _book(ledger: Ledger, run: str, who: str) -> None:
    held = await ledger.reserve(run=run, principal=who, intent="contact", workflow="desk", model="m", usd=0.5, tokens=9)
    assert isinstance(held, Reservation)
    await ledger.settle(held, usd=0.25, tokens=5)


def _store(schema: Any) -> closing[Database]:
    return closing(open_database(place(), schema))


def _everything() -> str:
    """The bytes of every file, and every row of the server."""
    found = [readable(path).decode("latin-1") for path in sorted(home().rglob("*")) if path.is_file()]
    with _store(APPROVALS) as store, store.reading() as execute:
        if store.remote:
            tables = execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
            for table in tables:
                for row in execute(f"SELECT * FROM {table['tablename']}"):
                    found += [
                        value.decode("latin-1") if isinstance(value, bytes) else str(value) for value in row.values()
                    ]
    return "\n".join(found)


def _sums() -> list[dict[str, Any]]:
    with _store(LEDGER) as store, store.reading() as execute:
        return execute("SELECT held_micros, spent_micros, spent_tokens FROM totals ORDER BY 1, 2, 3")


@pytest.mark.slow
async def test_nothing_of_a_person_is_left_in_any_store(desk: Desk) -> None:
    story = Story(desk)
    await story.play()
    before, sums = _everything(), _sums()
    for text in (ZOE["id"], SAID[2]):
        assert text in before, "the search sees what is there"

    done = await erase(ZOE["id"], by="dpo")

    assert done.removed.items() >= {
        "runs": 3, "traces": 3, "decisions": 1, "tool results": 1, "tickets of the example desk": 1, "comparisons": 1,
        "feedback": 1, "approval links": 1, "events of webhooks": 1, "deliveries of webhooks": 1,
    }.items()  # fmt: skip
    assert done.removed["cached answers"] >= 1
    assert done.renamed.items() >= {
        "runs of others": 1, "decisions on runs of others": 1, "promotions and switches": 2, "bookings": 4,
        "events of webhooks": 1,
    }.items()  # fmt: skip
    assert (done.in_progress, done.mentioned, done.traced_as) == ([], [], Masking().user(ZOE["id"]))
    after = _everything()
    for text in (ZOE["id"], Masking().user(ZOE["id"]), SAID[0], SAID[2]):
        found = after.find(text)
        assert found < 0, after[max(0, found - 100) : found + 100]
    with closing(open_store()) as traces:
        for run in (story.answered, story.approved, story.waiting):
            with pytest.raises(RunError, match="SG603"):
                recorded(run)
            with pytest.raises(RunError, match="SG603"):
                traces.run(run)
        assert traces.run(story.bens)["status"] == "answered"
    # what must stay stays, without the person
    bens = recorded(story.bens)
    assert bens["principal"]["id"] == "ben"
    assert bens.get("approval", {}).get("by", "").startswith("erased-")
    assert _sums() == sums
    (link,) = LinkRows().find()
    assert (link.person, link.made_by.startswith("erased-")) == (LEA, True)
    log = open_audit()
    assert not verify(log.folder).findings
    log.close()


@pytest.mark.slow
async def test_a_second_erasure_finds_nothing(desk: Desk) -> None:
    await Story(desk).play()
    await erase(ZOE["id"], by="dpo")
    again = await erase(ZOE["id"], by="dpo")
    assert (again.removed, again.renamed, again.mentioned) == ({}, {}, [])


@pytest.mark.slow
async def test_others_keep_what_is_theirs(desk: Desk) -> None:
    story = Story(desk)
    await story.play()
    await erase("nobody", by="dpo")
    assert recorded(story.waiting)["request"]["text"] == f"{SAID[0]} thrice"
    with closing(open_store()) as traces:
        assert len(traces.scores(story.bens)) > 0
        assert traces.run(story.answered)["status"] == "answered"


@pytest.mark.slow
async def test_a_run_in_progress_is_left_and_goes_the_next_time(desk: Desk) -> None:
    story = Story(desk)
    await story.play()
    async with run_lock.hold(place(), recorded(story.waiting)):
        done = await erase(ZOE["id"], by="dpo")
    assert done.in_progress == [story.waiting]
    again = await erase(ZOE["id"], by="dpo")
    assert (again.in_progress, again.removed["runs"]) == ([], 1)
    with pytest.raises(RunError, match="SG603"):
        recorded(story.waiting)


@pytest.mark.slow
async def test_one_that_was_cut_short_is_completed_by_the_next(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(desk)
    await story.play()

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for stop in ("_erase_traces", "_rename_bookings", "_rewrite"):
        with monkeypatch.context() as patch:
            patch.setattr(f"sluicegate.retention.erase.{stop}", killed)
            with pytest.raises(KeyboardInterrupt):
                await erase(ZOE["id"], by="dpo")
    done = await erase(ZOE["id"], by="dpo")
    assert done.mentioned == []
    after = _everything()
    assert not [text for text in (ZOE["id"], SAID[0], SAID[2]) if text in after]


def test_an_id_is_found_as_a_word_of_its_own(own_home: Path) -> None:
    home()
    for name, text in {
        "a": "asked by ann.",
        "b": "annual joann ann-marie ann@x.org x.ann",
        "c": '{"by":"ann"}',
    }.items():
        (own_home / name).write_text(text)
    assert mentions("ann") == ["a", "c"]
    with closing(Store()) as traces:
        for run, said in (("r", "annual"), ("s", "call joann"), ("t", "call ann now")):
            traces.write(Writes(records=[(run, Record("1" * 16, "", "n", "span", {"input": said + " and wait" * 50}))]))
            assert ("store.sqlite" in mentions("ann")) == (run == "t")


@pytest.mark.slow
async def test_the_command_says_what_it_did(desk: Desk) -> None:
    await Story(desk).play()
    result = await asyncio.to_thread(CliRunner().invoke, audit_command.app, ["erase", ZOE["id"], "--yes"])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())  # however its lines are broken
    assert said.startswith("zoe.quist is erased. removed: 3 runs, 1 decisions, ")
    assert said.endswith(" 4 bookings")
