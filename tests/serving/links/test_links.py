"""A link lets one person decide on one interrupt of one run, once. Whatever else it is used for does nothing."""

import asyncio
import base64
import json
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Service, principal
from sluicegate.errors import CorruptError, RunError
from sluicegate.home import home
from sluicegate.observe.audit.log import open_audit
from sluicegate.observe.audit.segments import segments
from sluicegate.observe.audit.verify import verify
from sluicegate.services import Decision, PolicyEngine
from sluicegate.serving.links.keys import rotate_link_keys
from sluicegate.serving.links.links import make_link, revoke_link
from sluicegate.serving.links.rows import LinkRows
from sluicegate.state import Principal
from sluicegate.storage.database import open_database, place
from sluicegate.storage.schemas import APPROVALS
from tests.support import stand
from tests.support.raw_bytes import readable
from tests.support.stand import NoShadow
from tests.support.ticketing import REQUEST, ticket_desk

ANN, LEA, MAX = principal("ann", ["employee"]), principal("lea", ["lead"]), principal("max", ["lead"])
TICKET = {"title": "Printer on floor 2 is jammed"}


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    file = ticket_desk(tmp_path / "desk", monkeypatch, extracted=TICKET)
    async with Service(file, beside=NoShadow) as service:  # type: ignore[arg-type]
        yield service


async def asked(desk: Service) -> str:
    return (await desk.ask(REQUEST, ANN)).run


async def made(desk: Service, run: str, person: Principal = LEA, **options: Any) -> str:
    return (await desk.links.make(run, person, by="ops", **options)).token


async def refused(desk: Service, token: str, code: str, why: str, *, signed_in: str = "") -> None:
    """Neither opened nor used, with this sentence; and nothing was decided by it."""
    before = decisions()
    with pytest.raises(RunError) as opened:
        await desk.links.open(token, signed_in=signed_in)
    with pytest.raises(RunError) as used:
        await desk.links.decide(token, "approve", signed_in=signed_in)
    for error in (opened.value, used.value):
        assert error.code == code
        assert re.search(why, error.message), error.message
    assert decisions() == before


def decisions() -> list[str]:
    with closing(open_database(place(), APPROVALS)) as database, database.reading() as execute:
        return [row["run"] for row in execute("SELECT run FROM decisions")]


def log() -> list[dict[str, Any]]:
    (segment,) = segments(home() / "audit")
    return [json.loads(line) for line in segment.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
async def test_a_link_shows_the_evidence_and_decides_once(desk: Service) -> None:
    run = await asked(desk)
    token = await made(desk, run)
    # as often as mail scanners and previews like
    for _ in range(3):
        link, waiting = await desk.links.open(token)
        assert (link.run, link.person, waiting["proposal"]["arguments"]) == (run, LEA, TICKET)
    assert decisions() == []
    outcome = await (await desk.links.decide(token, "approve", reason="yes")).outcome()
    assert (outcome.status, outcome.text) == ("answered", "Ticket T-00001 is open.")
    assert outcome.state["approval"]["by"] == "lea"  # type: ignore[typeddict-item]
    await refused(desk, token, "SG650", "^This link was used already, to approve.$")


@pytest.mark.slow
async def test_a_link_decides_with_an_edit(desk: Service) -> None:
    token = await made(desk, await asked(desk))
    accepted = await desk.links.decide(token, "edit", arguments={"details": "Ask for Bob."})
    outcome = await accepted.outcome()
    assert outcome.edited
    assert outcome.edited["after"] == {**TICKET, "details": "Ask for Bob."}


@pytest.mark.slow
async def test_of_two_clicks_at_a_time_one_decides(desk: Service) -> None:
    run = await asked(desk)
    token = await made(desk, run)
    clicks = [desk.links.decide(token, verdict) for verdict in ("approve", "reject", "approve", "reject")]
    done = await asyncio.gather(*clicks, return_exceptions=True)
    assert len([one for one in done if not isinstance(one, BaseException)]) == 1
    assert {one.code for one in done if isinstance(one, RunError)} <= {"SG605", "SG650"}
    assert decisions() == [run]


@pytest.mark.slow
async def test_what_is_no_link_of_this_home_does_nothing(
    desk: Service, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await made(desk, await asked(desk))
    raw = base64.urlsafe_b64decode(token)
    bent = [
        base64.urlsafe_b64encode(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]).decode()
        for place in range(len(raw))
    ]
    for other in (*bent, token[:-1], token + "A", token[:32], "", "é" * 64, "." * 64, token.swapcase()):
        with pytest.raises(RunError, match=r"^SG650 This link was not made here, or not all of it was copied"):
            await desk.links.open(other)
    # another home that has copied the rows, and not the key
    shutil.copytree(own_home, tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "keys")
    monkeypatch.setenv("SLUICEGATE_HOME", str(tmp_path / "other"))
    await refused(desk, token, "SG650", "not made here")
    monkeypatch.setenv("SLUICEGATE_HOME", str(own_home))
    await desk.links.open(token)


@pytest.mark.parametrize("column", ["run", "node", "asked_at", "shown", "rights", "expires_at"])
async def test_a_row_that_was_changed_is_no_link(desk: Service, column: str) -> None:
    token = await made(desk, await asked(desk))
    value = '{"id": "max", "roles": ["lead"], "groups": [], "clearance": "internal"}' if column == "rights" else "2999"
    with closing(open_database(place(), APPROVALS)) as database, database.writing() as execute:
        execute(f"UPDATE links SET {column} = ?", (value,))
    await refused(desk, token, "SG650", "not made here")


async def test_a_link_is_for_the_person_it_was_made_for(desk: Service) -> None:
    token = await made(desk, await asked(desk))
    await refused(desk, token, "SG650", "for somebody else", signed_in="max")
    link, _ = await desk.links.open(token, signed_in="lea")
    assert link.person == LEA


@pytest.mark.slow
async def test_a_link_ends_in_time_and_with_what_waits(desk: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await asked(desk)
    short, long = await made(desk, run, hours=2), await desk.links.make(run, LEA, by="ops", hours=700)
    waiting = (await desk.approval(run, LEA))["deadline"]
    assert long.expires_at == waiting
    clock(desk, monkeypatch, hours=1.9)
    await desk.links.open(short)
    clock(desk, monkeypatch, hours=2.1)
    await refused(desk, short, "SG650", r"^This link could be used until \d{4}-\d\d-\d\d \d\d:\d\d UTC.$")
    await desk.links.open(long.token)


def clock(desk: Service, monkeypatch: pytest.MonkeyPatch, *, hours: float) -> None:
    runner = desk.versions.serving.runner
    later = replace(runner.services, now=lambda: stand.clock() + timedelta(hours=hours))
    monkeypatch.setattr(runner, "services", later)


@pytest.mark.slow
async def test_a_link_is_for_what_was_shown_when_it_was_made(desk: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await asked(desk)
    token, later = await made(desk, run), await made(desk, run)
    # the same interrupt with another proposal, as after a rewind of the run
    with monkeypatch.context() as rewound:
        another: Callable[[Any], str] = lambda _: "another"  # noqa: E731
        rewound.setattr("sluicegate.serving.links.links.evidence_hash", another)
        await refused(desk, token, "SG650", "has changed since")
    await desk.decide(run, "reject", MAX)
    await refused(desk, later, "SG650", "decided already")


@pytest.mark.slow
async def test_a_decision_is_for_the_interrupt_that_was_meant(desk: Service) -> None:
    run = await asked(desk)
    with pytest.raises(RunError, match=r"SG605.*waits for another decision by now"):
        await desk.decide(run, "approve", LEA, asked_at="2026-11-27T12:00:00+00:00")
    assert decisions() == []


@pytest.mark.slow
async def test_the_policies_are_asked_at_each_use(desk: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await asked(desk)
    token = await made(desk, run)
    runner = desk.versions.serving.runner

    class NotLea:
        """The policies after a change that no longer lets lea decide."""

        def __init__(self, real: PolicyEngine) -> None:
            self._real = real

        def decide(self, person: Principal, action: str, *asked: Any) -> Decision:
            decision = self._real.decide(person, action, *asked)
            return replace(decision, allowed=False) if (person["id"], action) == ("lea", "approve") else decision

    policies: Any = NotLea(runner.services.policy)
    monkeypatch.setattr(runner, "services", replace(runner.services, policy=policies))
    await refused(desk, token, "SG650", "policies no longer let you decide")


@pytest.mark.parametrize("person", [ANN, principal("bob", ["employee"]), principal("ann", ["lead"])])
async def test_no_link_is_made_for_who_may_not_decide(desk: Service, person: Principal) -> None:
    run = await asked(desk)
    with pytest.raises(RunError) as error:
        await made(desk, run, person)
    assert error.value.code in ("SG603", "SG610")
    assert LinkRows().find() == []


@pytest.mark.slow
async def test_a_revoked_link_does_nothing(desk: Service) -> None:
    token = await made(desk, await asked(desk))
    (link,) = LinkRows().find()
    assert revoke_link(link.id[:8], by="ops").ended == "revoked"
    await refused(desk, token, "SG650", "^This link was revoked.$")
    with pytest.raises(RunError, match=r"SG650.*ended before"):
        revoke_link(link.id, by="ops")
    with pytest.raises(RunError, match="SG603"):
        revoke_link("0123", by="ops")


@pytest.mark.slow
async def test_a_rotated_key_verifies_until_the_next_rotation(desk: Service) -> None:
    token = await made(desk, await asked(desk))
    rotate_link_keys(by="ops")
    await desk.links.open(token)
    again = LinkRows().find()[0].token
    assert again != token
    rotate_link_keys(by="ops")
    await refused(desk, token, "SG650", "not made here")
    await desk.links.open(again)


@pytest.mark.slow
async def test_keys_that_others_may_read_sign_nothing(desk: Service) -> None:
    run = await asked(desk)
    token = await made(desk, run)
    file = home() / "keys" / "links.key"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(CorruptError, match=r"SG606.*chmod 600"):
        await desk.links.open(token)
    file.chmod(0o600)
    file.write_text("short\n", encoding="ascii")
    with pytest.raises(CorruptError, match="not a file of keys"):
        await desk.links.open(token)


@pytest.mark.slow
async def test_who_made_a_link_for_whom_and_who_used_it_is_in_the_audit_log(desk: Service) -> None:
    run = await asked(desk)
    token = await made(desk, run)
    await (await desk.links.decide(token, "approve")).outcome()
    events = {one["event"]: one for one in log() if one["event"].startswith("approval.link")}
    with closing(open_audit()) as audit:
        ops, lea = (audit.payloads.person(name).pseudonym for name in ("ops", "lea"))
    assert (events["approval.link.made"]["actor"], events["approval.link.made"]["people"]) == (ops, {"approver": lea})
    used = events["approval.link.used"]
    assert (used["actor"], used["run"], used["facts"]["verdict"]) == (lea, run, "approve")
    assert events["approval.link.made"]["facts"]["link"] == used["facts"]["link"]
    decided = [one for one in log() if one["event"] == "node" and one["facts"]["node"] == "approve"]
    assert [one["people"] for one in decided] == [{"approver": lea}]
    assert token not in (home() / "audit" / "audit-000001.jsonl").read_text(encoding="utf-8")
    assert not verify(home() / "audit").tampered


@pytest.mark.slow
async def test_the_token_is_nowhere_in_the_home(desk: Service) -> None:
    token = await made(desk, await asked(desk))
    await desk.links.open(token)
    await (await desk.links.decide(token, "reject", reason="no")).outcome()
    signature = base64.urlsafe_b64decode(token)[16:]
    for path in home().rglob("*"):
        if path.is_file():
            content = readable(path)
            assert token.encode() not in content, path
            assert signature not in content, path


@pytest.mark.slow
async def test_the_same_id_is_the_same_link(desk: Service) -> None:
    run = await asked(desk)
    first, again = await made(desk, run, id="ab" * 16), await made(desk, run, id="ab" * 16, hours=1)
    assert first == again
    assert len([one for one in log() if one["event"] == "approval.link.made"]) == 1


@pytest.mark.slow
async def test_links_on_a_server(tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICEGATE_DATABASE_URL", postgres)
    file = ticket_desk(tmp_path / "desk", monkeypatch, extracted=TICKET)
    async with Service(file, beside=NoShadow) as desk:  # type: ignore[arg-type]
        run = await asked(desk)
        async with desk.versions.using(desk.versions.serving.workflow.digest) as opened:
            token = (await make_link(opened.runner, run, LEA, by="ops")).token
        await (await desk.links.decide(token, "approve")).outcome()
        await refused(desk, token, "SG650", "used already")
