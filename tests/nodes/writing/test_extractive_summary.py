"""Putting a request short in its own words."""

import pytest

from sluicegate.nodes.kinds.answering import SUMMARIZE, Summarize
from sluicegate.nodes.model_governance import governed
from sluicegate.nodes.writing.extractive_summary import excerpt, material, pieces
from sluicegate.policies.guards.detectors.grounded import unsupported
from sluicegate.services import EmbeddingRequest, Embeddings
from tests.support.answering import state
from tests.support.fakes import FakeModels, services

LOG = "06:15 backup done. 06:45 historian down, disk full. 07:40 data back."


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (f"Sum this up: {LOG}", LOG),
        (f'Please condense the following mail. "{LOG}"', LOG),
        (f"Was ist passiert? „{LOG}“", LOG),
        (f"What's the gist of this? {LOG}", LOG),
        (f"Shorten. {LOG}", f"Shorten. {LOG}"),
        (LOG, LOG),
        ('The "red" lamp was on, nobody saw it.', 'The "red" lamp was on, nobody saw it.'),
        ("Is it open?", "Is it open?"),
        (f"{'word ' * 30}and so on: {LOG}", f"{'word ' * 30}and so on: {LOG}"),
    ],
)
def test_what_of_a_request_is_the_text(request_: str, text: str) -> None:
    assert material(request_) == text


def test_a_text_of_few_sentences_is_taken_by_its_clauses() -> None:
    assert pieces(LOG) == ["06:15 backup done.", "06:45 historian down, disk full.", "07:40 data back."]
    assert pieces("mail was late, a relay refused it; fixed, all sent by noon") == [
        "mail was late",
        "a relay refused it, fixed",
        "all sent by noon",
    ]
    assert pieces("") == []


class Central(FakeModels):
    """A piece is as near to the whole as the disk is to it."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        _, *others = request.texts
        cosines = [1.0, *(0.9 if "disk" in text else 0.5 if "data" in text else 0.1 for text in others)]
        return Embeddings([[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines], "fake:embedder", "fake")


async def test_pieces_are_offered_by_how_near_they_are_to_the_whole() -> None:
    found = await excerpt(services(models=Central()), f"Sum this up: {LOG}")
    assert [one.text for one in found.candidates] == [
        "06:45 historian down, disk full.",
        "07:40 data back.",
        "06:15 backup done.",
    ]


async def test_a_summary_in_the_requests_own_words_is_grounded_and_cites_nothing() -> None:
    asked = f"Sum this up: {LOG}"
    given = services(models=Central(parsed={"sentences": [2, 1]}))
    opening = state(given)
    opening["request"]["text"] = asked
    node = SUMMARIZE.make("digest", Summarize(prompt="summarize", style="quote"))
    answer = (await governed(node, opening, given))["answer"]
    assert answer["text"] == "06:45 historian down, disk full. 07:40 data back."
    assert answer["citations"] == []
    assert answer["prompt"].startswith("summarize-quote@")
    assert unsupported(answer["text"], (asked,), "", 0.5) == []
