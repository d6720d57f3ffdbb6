"""Drafts sent sentence by sentence: nothing that no guard has seen, as early as it may be, and never out of turn."""

import asyncio
import random
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate import Outcome, principal
from sluicegate.errors import RunError
from sluicegate.graphs.runtime.steps.streaming import _Draft, sending
from sluicegate.policies.guards.set import GuardSet
from tests.support.fakes import FakeModels
from tests.support.summarising import ASKED, PATTERN, SENT, SUMMARY, summarising

ANN = principal("ann", ["employee"])
KEY = "AKIAIOSFODNN7EXAMPLE"


async def run(workflow: Path, answer: str) -> tuple[list[str], Outcome]:
    pieces: list[str] = []
    opened = summarising(workflow, answer=answer)
    with sending(pieces.append):
        outcome = await opened.runner.run(ASKED, ANN)
    opened.close()
    return pieces, outcome


async def test_each_sentence_is_sent_when_it_is_complete() -> None:
    pieces, outcome = await run(PATTERN, f"  {SUMMARY}")
    assert pieces[0] == "The queue grew at 08:10."
    # of the last one nobody knows whether it is complete before the whole is there
    assert "".join(pieces) == SENT
    assert outcome.text == SUMMARY


async def test_what_is_redacted_was_never_sent() -> None:
    pieces, outcome = await run(PATTERN, "Ask ann.miller@example.org about it. She knows. Then write again.")
    assert "".join(pieces) == "Ask <EMAIL_1> about it. She knows."
    assert outcome.text.startswith("".join(pieces))


async def test_what_fails_is_not_sent_and_nothing_after_it() -> None:
    pieces, outcome = await run(PATTERN, "All is well. You are an idiot. That is all. Good luck with it.")
    assert pieces == ["All is well."]
    assert (outcome.status, "idiot" in outcome.text) == ("refused", False)


@pytest.mark.slow
async def test_where_a_person_may_hold_it_back_nothing_is_sent(tmp_path: Path) -> None:
    shutil.copytree(PATTERN.parent, tmp_path / "pattern")
    config = tmp_path / "pattern" / "workflow.yaml"
    text = config.read_text(encoding="utf-8")
    last, respond = '- {when: "checks.failed",                        go: sorry}', "  respond: {kind: respond}"
    assert last in text
    then = "[{when: \"approval.verdict == 'approve'\", go: respond}, {otherwise: sorry}]"
    person = f"  person: {{kind: human-interrupt, approvers: role:lead, timeout: 1h, then: {then}}}"
    text = text.replace(last, last.replace("sorry", "person")).replace(respond, f"{person}\n{respond}")
    config.write_text(text, encoding="utf-8")
    pieces, outcome = await run(config, SUMMARY)
    assert (pieces, outcome.text) == ([], SUMMARY)


async def test_without_a_listener_no_model_is_asked_to_stream() -> None:
    asked: list[Any] = []

    class Remembering(FakeModels):
        async def chat(self, request: Any) -> Any:
            asked.append(request.on_token)
            return await super().chat(request)

    opened = summarising(models=Remembering({"slm": SUMMARY}))
    await opened.runner.run(ASKED, ANN)
    opened.close()
    assert asked == [None]


async def test_a_guard_that_cannot_judge_stops_what_is_sent_and_not_the_draft() -> None:
    sent: list[str] = []

    async def judged(text: str) -> str | None:
        raise RunError("SG617", "the vault is full")

    async with drafting(judged, sent) as draft:
        draft.add("One sentence. Another one. ")
    assert sent == []


@asynccontextmanager
async def drafting(judged: Any, sent: list[str]) -> AsyncIterator[_Draft]:
    draft = _Draft(judged, sent.append)
    yield draft
    await draft.end()


DRAFTS = 800

WORDS = "the vault key [1] is Dr. 3.5 no. ann@example.org said: z. B. and! e.g. what? ``` - * | 。また".split()  # noqa: SIM905
SECRETS = (KEY, "ann@example.org", "+49 30 901820", "DE89 3704 0044 0532 0130 00")


def _text(chance: random.Random) -> str:
    size = chance.randint(1, 40)
    return "".join(chance.choice(WORDS) + chance.choice([" ", " ", ". ", "\n", ""]) for _ in range(size))


def _pieces(chance: random.Random, text: str) -> list[str]:
    pieces: list[str] = []
    while text:
        size = chance.randint(1, 12)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@pytest.mark.slow
async def test_no_character_is_sent_that_was_not_judged_in_its_place() -> None:
    """Drafts in random pieces, with judges that are slow, refuse, or take words out. Ten thousand take two minutes."""
    characters = 0
    for seed in range(DRAFTS):
        chance = random.Random(seed)
        passed: list[str] = []
        sent: list[str] = []

        async def judged(text: str, chance: random.Random = chance, passed: list[str] = passed) -> str | None:
            for _ in range(chance.randint(0, 3)):
                await asyncio.sleep(0)
            if chance.random() < 0.2:
                return None
            passed.append(text.replace("ann@example.org", "[EMAIL_1]"))
            return passed[-1]

        text = _text(chance)
        async with drafting(judged, sent) as draft:
            for piece in _pieces(chance, text):
                draft.add(piece)
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
        shown = ""
        for piece in sent:
            shown += piece
            assert shown in passed, (seed, text)
        assert "ann@example.org" not in shown
        characters += len(shown)
    assert characters > 20 * DRAFTS


@pytest.mark.slow
async def test_real_guards_let_nothing_out_that_they_find_in_the_whole() -> None:
    guards = GuardSet()
    told = {"stage": "output", "question": "", "sources": (), "citations": 0}
    sentences = 0

    async def judged(text: str) -> str | None:
        report = await guards.check(["pii", "secrets", "tone"], text, **told)  # type: ignore[arg-type]
        return report.text if all(one["passed"] or one["action"] == "redact" for one in report.results) else None

    for seed in range(60):
        chance = random.Random(seed)
        plain = [
            "The desk is open. ",
            "Bring the form [1]! ",
            "Ask Dr. Miller, see p. 5. ",
            "Is that all? ",
            "Yes.\n\n",
        ]
        parts = [chance.choice(plain) for _ in range(chance.randint(3, 9))]
        secret = chance.choice(SECRETS)
        parts.insert(chance.randrange(len(parts)), f"It is {secret}, they say. ")
        sent: list[str] = []
        async with drafting(judged, sent) as draft:
            for piece in _pieces(chance, "".join(parts)):
                draft.add(piece)
                if chance.random() < 0.2:
                    await asyncio.sleep(0)
        assert secret not in "".join(sent), (seed, parts)
        sentences += len(re.findall(r"[.!?]", "".join(sent)))
    assert sentences > 100
