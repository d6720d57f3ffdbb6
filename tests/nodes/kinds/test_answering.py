"""The kinds that write: what they ask, what they make of it, and what the ledger sees."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from sluicegate.errors import ModelError, UnusableAnswerError
from sluicegate.nodes.kinds.answering import LLM_SYNTHESIZE, SLM_ANSWER, SUMMARIZE, LlmSynthesize, SlmAnswer, Summarize
from sluicegate.nodes.kinds.output_check import OUTPUT_CHECK, OutputCheck
from sluicegate.nodes.model_governance import governed
from sluicegate.nodes.writing.quoting import Candidate, assembled, choice_schema, shortlist
from sluicegate.services import Completion, EmbeddingRequest, Embeddings, GuardReport, ModelRequest, ProbeTask, Refusal
from tests.support.answering import TEXTS, document, state
from tests.support.fakes import FakeConfidence, FakeGuards, FakeLedger, FakeModels, FakeRetriever, services


class Similar(FakeModels):
    """Embeds by words: texts that share words with the question are near it."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        wanted = ["portal", "forgot", "4357", "reset"]
        texts = [text.casefold() for text in request.texts]
        near = [[1.0 + ("reset" in text), *(float(word in text) for word in wanted)] for text in texts]
        return Embeddings(near, "fake:embedder", "fake")


async def test_writes_and_cites() -> None:
    given = services(retriever=FakeRetriever(TEXTS))
    update = await governed(SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), state(given), given)
    answer = update["answer"]
    assert answer["text"] == "Small answer [1]."
    assert answer["citations"] == [{"marker": "[1]", "document": "kb-1", "version": "1", "span": [0, 9]}]
    assert (answer["by"], answer["model"], answer["prompt"]) == ("answer", "fake:slm", "answer@1")
    assert update["spend"]["slm_calls"] == 1
    assert given.ledger.log == ["reserve", "settle"]  # type: ignore[attr-defined]


async def test_quotes_sentences_of_the_sources_word_for_word() -> None:
    given = services(retriever=FakeRetriever(TEXTS), models=Similar(parsed={"sentences": [1, 2]}))
    node = SLM_ANSWER.make("answer", SlmAnswer(prompt="answer", style="quote"))
    answer = (await governed(node, state(given), given))["answer"]
    for sentence in answer["text"].replace(" [1]", "").replace(" [2]", "").split(". "):
        assert sentence.rstrip(".") + "." in " ".join(TEXTS.values())
    assert answer["prompt"].startswith("answer-quote@")
    assert answer["citations"]


async def test_confidence_in_a_quotation_rests_on_its_nearest_sentence_and_its_lead() -> None:
    sure = FakeConfidence(0.7, threshold=0.65)
    given = services(retriever=FakeRetriever(TEXTS), models=Similar(parsed={"sentences": [1]}), confidence=sure)
    node = SLM_ANSWER.make("answer", SlmAnswer(prompt="answer", style="quote"))
    answer = (await governed(node, state(given), given))["answer"]
    assert (answer["confidence"], answer["threshold"]) == (0.7, 0.65)
    (evidence,) = sure.seen
    found = await shortlist(state(given), given, "How do I reset it?", list(TEXTS.values()))
    assert evidence.text == answer["text"]
    assert evidence.similarity == found.candidates[0].score
    assert evidence.margin == found.margin
    assert evidence.retrieval == [0.9, 0.9]


class Unprobed(Similar):
    async def admitted(self, role: str, task: ProbeTask) -> bool:
        assert (role, task) == ("slm", "answer")
        return False


@pytest.mark.parametrize(("models", "prompt"), [(Similar, "answer@"), (Unprobed, "answer-quote@")])
async def test_the_probe_of_its_model_decides_whether_a_node_writes_or_quotes(models: Any, prompt: str) -> None:
    given = services(retriever=FakeRetriever(TEXTS), models=models(parsed={"sentences": [1]}))
    node = SLM_ANSWER.make("answer", SlmAnswer(prompt="answer", style="auto"))
    assert (await governed(node, state(given), given))["answer"]["prompt"].startswith(prompt)


async def test_words_of_a_models_own_have_no_similarity() -> None:
    sure = FakeConfidence(0.7)
    given = services(retriever=FakeRetriever(TEXTS), confidence=sure)
    await governed(SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), state(given), given)
    assert (sure.seen[0].similarity, sure.seen[0].question) == (None, "How do I reset it?")


class Placed(FakeModels):
    """Embeds a sentence by the number in it: its cosine with the question, in hundredths."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        cosines = [int("".join(re.findall(r"\d+", text)) or 100) / 100 for text in request.texts]
        return Embeddings([[cosine, (1 - cosine**2) ** 0.5] for cosine in cosines], "fake:embedder", "fake")


async def test_sentences_of_other_sources_must_be_nearer_to_be_offered() -> None:
    texts = ["This is 90. This is 60. This is 50.", "Here is 80. Here is 69."]
    documents = [{**document(number), "title": "", "score": 0.8} for number in (1, 2)]
    found = await shortlist(state(services(), documents=documents), services(models=Placed()), "What?", texts)
    # by `ranking.WEIGHTS`, the question having no telling words: 0.1 * 80 + 0.2 * nearest + 0.45 * own, in hundredths.
    # 66.5, 53 and 48.5 of the first, the last more than 15 below the best; 60 and 55.05 of the other, the last below
    # 83 %
    assert [one.text for one in found.candidates] == ["This is 90.", "Here is 80.", "This is 60."]
    assert found.candidates[0].score == pytest.approx(0.665)
    assert found.margin == pytest.approx(0.665 - 0.6)
    # 20.5, 13.75 and 11.5, the last below 60 %
    low = ["This is 30. This is 15. This is 10."]
    documents = [{**document(1), "title": "", "score": 0.1}]
    found = await shortlist(state(services(), documents=documents), services(models=Placed()), "What?", low)
    assert [one.text for one in found.candidates] == ["This is 30.", "This is 15."]
    assert (await shortlist(state(services(), documents=[]), services(), "What?", [])).candidates == ()


@pytest.mark.parametrize("texts", [{}, {"h1": "# Only a heading", "h2": ""}])
async def test_without_sentences_to_quote_there_is_no_answer_and_no_model_is_asked(texts: dict[str, str]) -> None:
    given = services(retriever=FakeRetriever(texts), models=Similar())
    node = SLM_ANSWER.make("answer", SlmAnswer(prompt="answer", style="quote"))
    documents = [document(number) for number in (1, 2)][: len(texts)]
    answer = (await governed(node, state(given, documents=documents), given))["answer"]
    assert (answer["text"], answer["confidence"], answer["model"]) == ("", 0.0, "")
    assert answer["confidence"] < answer["threshold"]
    assert given.models.asked == []  # type: ignore[attr-defined]


def test_quotes_stand_in_the_order_of_their_sources() -> None:
    found = [Candidate(2, 0, "Second.", 0.9), Candidate(1, 1, "First b.", 0.8), Candidate(1, 0, "First a.", 0.7)]
    assert assembled(found, [1, 3, 2, 3]) == "First a. [1] First b. [1] Second. [2]"
    assert choice_schema(3, 5)["properties"]["sentences"]["maxItems"] == 3


async def test_sections_are_asked_one_by_one_and_the_least_sure_counts() -> None:
    given = services(retriever=FakeRetriever(TEXTS), confidence=FakeConfidence(0.9, 0.4))
    settings = LlmSynthesize(prompt="report", sections=["Cause", "Effect"])
    update = await governed(LLM_SYNTHESIZE.make("report", settings), state(given), given)
    assert update["answer"]["text"] == "Cause\nLarge answer [1].\n\nEffect\nLarge answer [1]."
    assert update["answer"]["confidence"] == 0.4
    assert update["spend"]["llm_calls"] == 2
    assert given.ledger.log == ["reserve", "settle", "reserve", "settle"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("picked", "quotes", "quoted"), [([4, 2], 5, [90, 80, 70, 60]), ([4], 2, [90, 80]), ([1], 5, [90, 80, 70, 60])]
)
async def test_the_best_sentences_are_quoted_whatever_the_model_picks(
    picked: list[int], quotes: int, quoted: list[int]
) -> None:
    texts = {"h1": "This is 90. This is 80. This is 70. This is 60. This is 50.", "h2": ""}
    given = services(retriever=FakeRetriever(texts), models=Placed(parsed={"sentences": picked}))
    node = SLM_ANSWER.make("answer", SlmAnswer(prompt="answer", style="quote", quotes=quotes))
    documents = [{**document(number), "title": ""} for number in (1, 2)]
    update = await governed(node, state(given, documents=documents), given)
    assert re.findall(r"\d\d", update["answer"]["text"]) == [str(number) for number in quoted]


async def test_a_sentence_that_one_section_quotes_is_not_offered_to_another_while_others_are_near() -> None:
    texts = {"h1": "This is 90. This is 80. This is 70.", "h2": ""}
    given = services(retriever=FakeRetriever(texts), models=Placed(parsed={"sentences": [1]}))
    settings = LlmSynthesize(prompt="report", style="quote", sections=["One", "Two", "Three", "Four"])
    documents = [{**document(number), "title": ""} for number in (1, 2)]
    update = await governed(LLM_SYNTHESIZE.make("report", settings), state(given, documents=documents), given)
    quoted = ["One\nThis is 90. [1]", "Two\nThis is 80. [1]", "Three\nThis is 70. [1]"]
    # the fourth has nothing else left
    assert update["answer"]["text"].split("\n\n") == [*quoted, "Four\nThis is 90. [1]"]
    # nor one that a section quotes which stands as it is
    draft: Any = {**drafted("One\nUnsupported. [1]\n\nTwo\nThis is 90. [1]"), "sections": ["One", "Two"]}
    checks: Any = {"failed": True, "action": "escalate", "failures": ["grounded"], "results": [], "sections": ["One"]}
    settings = LlmSynthesize(prompt="report", style="write", again="quote", sections=["One", "Two"])
    again = state(given, answer=draft, checks=checks, visits={"report": 2}, documents=documents)
    update = await governed(LLM_SYNTHESIZE.make("report", settings), again, given)
    assert update["answer"]["text"] == "One\nThis is 80. [1]\n\nTwo\nThis is 90. [1]"


class Headed(FakeModels):
    """Embeds by what a text is about; everything has something to do with everything."""

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        about = [[3.0, float("cause" in text), float("happened" in text or "pump" in text)] for text in request.texts]
        return Embeddings([[x / sum(y * y for y in row) ** 0.5 for x in row] for row in about], "fake:embedder", "fake")


async def test_a_sentence_that_belongs_to_a_later_section_is_left_to_it_as_long_as_another_is_near() -> None:
    one = state(services(), documents=[document(1)])
    text, given = ["The cause is a leak. The pump stood still."], services(models=Headed())
    alone = await shortlist(one, given, "What happened", text)
    assert [found.text for found in alone.candidates] == ["The pump stood still.", "The cause is a leak."]
    left = await shortlist(one, given, "What happened", text, later=["Its cause"])
    assert [found.text for found in left.candidates] == ["The pump stood still."]
    only = await shortlist(one, given, "What happened", ["The cause is a leak."], later=["Its cause"])
    assert [found.text for found in only.candidates] == ["The cause is a leak."]


async def test_a_prompt_shows_the_title_of_a_source_once() -> None:
    texts = {"h1": "# Title 1\n\nOpen the portal.", "h2": "# Another heading\n\nCall 4357."}
    given = services(retriever=FakeRetriever(texts))
    await governed(LLM_SYNTHESIZE.make("report", LlmSynthesize(prompt="report")), state(given), given)
    prompt = str(given.models.asked[0][1][-1].content)  # type: ignore[attr-defined]
    assert "[1] Title 1\nOpen the portal.\n\n[2] Title 2\n# Another heading\n\nCall 4357." in prompt


class Cut(FakeModels):
    """Cuts off the first text it writes."""

    async def chat(self, request: ModelRequest) -> Completion:
        said = await super().chat(request)
        return said if len(self.asked) > 1 else replace(said, finish="length")


@dataclass
class Unsupported(FakeGuards):
    """`grounded` fails where the word stands."""

    word: str = "sorry"

    async def check(self, names: Sequence[str], text: str, *, stage: str, **_: Any) -> GuardReport:
        self.failing = {"grounded": "escalate"} if self.word in text else {}
        return await super().check(names, text, stage=stage)


def drafted(text: str) -> Any:
    return {
        "text": text, "confidence": 0.6, "threshold": 0.0, "citations": [], "model": "m", "by": "report", "prompt": "p",
        "prompt_hash": "", "finish": "stop", "fallback": "", "sections": ["What the people did", "Effect"],
    }  # fmt: skip


DRAFT = "What the people did\nThey waited [1].\n\nEffect\nWe are sorry [1]."


async def checked(draft: str, guards: list[str], **failing: Any) -> tuple[Any, Unsupported]:
    fake = Unsupported(**failing)
    given = services(retriever=FakeRetriever(TEXTS), guards=fake)
    node = OUTPUT_CHECK.make("check", OutputCheck(guards=guards))
    return (await governed(node, state(given, answer=drafted(draft)), given))["checks"], fake


async def test_each_section_is_checked_for_support_by_itself_and_the_whole_for_the_rest() -> None:
    checks, fake = await checked(DRAFT, ["pii", "grounded"])
    assert fake.asked == [
        (("grounded",), "They waited [1].", "output"),
        (("grounded",), "We are sorry [1].", "output"),
        (("pii",), DRAFT, "output"),
    ]
    assert (checks["failed"], checks["failures"], checks["sections"]) == (True, ["grounded"], ["Effect"])
    assert [one["guard"] for one in checks["results"]] == ["pii", "grounded"]
    assert checks["results"][1]["reason"] == "Effect: grounded says no"
    assert checks["action"] == "escalate"


async def test_a_draft_that_was_cut_off_or_is_none_fails_whatever_guards_say() -> None:
    given = services(retriever=FakeRetriever(TEXTS), guards=Unsupported())
    node = OUTPUT_CHECK.make("check", OutputCheck(guards=["pii"]))
    cut: Any = {**drafted("We have waited for the"), "finish": "length"}
    checks = (await governed(node, state(given, answer=cut), given))["checks"]
    assert (checks["failed"], checks["failures"], checks["action"]) == (True, ["complete"], "regenerate")
    # the next try is told once
    again = state(given, answer=cut, checks=checks, visits={"report": 2})
    await governed(LLM_SYNTHESIZE.make("report", LlmSynthesize(prompt="report")), again, given)
    assert str(given.models.asked[-1]).count("it was too long and was cut off") == 1  # type: ignore[attr-defined]
    none: Any = {**cut, "text": "", "finish": "error"}
    checks = (await governed(node, state(given, answer=none), given))["checks"]
    assert (checks["failures"], checks["action"]) == (["not-empty"], "escalate")


async def test_a_draft_whose_headings_are_gone_is_checked_as_a_whole() -> None:
    checks, fake = await checked("An editor's own words.", ["grounded"])
    assert fake.asked == [(("grounded",), "An editor's own words.", "output")]
    assert "sections" not in checks


async def test_a_draft_of_which_a_section_was_cut_off_says_so_and_the_next_try_is_told() -> None:
    models = Cut()
    given = services(retriever=FakeRetriever(TEXTS), models=models)
    node = LLM_SYNTHESIZE.make("report", LlmSynthesize(prompt="report", sections=["Cause", "Effect"]))
    first = (await governed(node, state(given), given))["answer"]
    assert first["finish"] == "length"
    await governed(node, state(given, answer=first, visits={"report": 2}), given)
    assert "it was too long and was cut off" in str(models.asked[-1])


async def test_only_sections_that_failed_are_written_again() -> None:
    checks, _ = await checked(DRAFT, ["grounded"])
    given = services(retriever=FakeRetriever(TEXTS))
    node = LLM_SYNTHESIZE.make("report", LlmSynthesize(prompt="report", sections=["What the people did", "Effect"]))
    again = state(given, answer=drafted(DRAFT), checks=checks, visits={"report": 2})
    update = await governed(node, again, given)
    assert update["answer"]["text"] == "What the people did\nThey waited [1].\n\nEffect\nLarge answer [1]."
    assert update["answer"]["confidence"] <= 0.6
    assert update["spend"]["llm_calls"] == 1
    # which section was cut off is not known, so none stands
    cut: Any = {**drafted(DRAFT), "finish": "length"}
    update = await governed(node, {**again, "answer": cut}, given)
    assert update["spend"]["llm_calls"] == 2
    # another guard's fault may stand anywhere
    leaks: Any = {**checks, "failures": ["grounded", "pii"]}
    update = await governed(node, {**again, "checks": leaks}, given)
    assert update["spend"]["llm_calls"] == 2
    # the first section, too, may be the one that failed
    first: Any = {**checks, "sections": ["What the people did"]}
    update = await governed(node, {**again, "checks": first}, given)
    assert update["answer"]["text"] == "What the people did\nLarge answer [1].\n\nEffect\nWe are sorry [1]."


async def test_a_second_visit_can_quote_instead() -> None:
    given = services(retriever=FakeRetriever(TEXTS), models=Similar(parsed={"sentences": [1]}))
    node = LLM_SYNTHESIZE.make("synthesize", LlmSynthesize(prompt="report", again="quote"))
    first = await governed(node, state(given, visits={"synthesize": 1}), given)
    second = await governed(node, state(given, visits={"synthesize": 2}), given)
    assert first["answer"]["prompt"] == "report@1"
    assert second["answer"]["prompt"].startswith("report-quote@")


async def test_a_budget_that_says_no_is_a_fact_not_an_error() -> None:
    given = services(ledger=FakeLedger(Refusal("SG501", "per_run_usd: 0.02")), retriever=FakeRetriever(TEXTS))
    update = await governed(LLM_SYNTHESIZE.make("synthesize", LlmSynthesize(prompt="report")), state(given), given)
    assert update["spend"]["stopped"]
    assert update["spend"]["stopped_by"] == "SG501 per_run_usd: 0.02"
    assert update["answer"]["text"] == ""
    assert given.models.asked == []  # type: ignore[attr-defined]


async def test_a_failed_call_gives_its_reservation_back() -> None:
    given = services(models=FakeModels(fails=ModelError("SG309", "none")), retriever=FakeRetriever(TEXTS))
    with pytest.raises(ModelError):
        await governed(SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), state(given), given)
    assert given.ledger.log == ["reserve", "release"]  # type: ignore[attr-defined]


async def test_summary_of_the_request_needs_no_documents() -> None:
    given = services()
    update = await governed(SUMMARIZE.make("digest", Summarize(prompt="summarize")), state(given, documents=[]), given)
    assert update["answer"]["text"] == "Small answer [1]."
    assert update["answer"]["citations"] == []


async def test_a_confidence_that_compares_questions_gets_the_questions_vector() -> None:
    sure = FakeConfidence(0.7)
    sure.like = "fake"
    given = services(retriever=FakeRetriever(TEXTS), confidence=sure)
    answer = (await governed(SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), state(given), given))["answer"]
    (vector,) = (await given.models.embed(EmbeddingRequest("embedder", ["How do I reset it?"]))).vectors
    assert sure.seen[0].vector == vector
    assert answer["answerability"] == 0.7
    sure.like = ""
    await governed(SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), state(given), given)
    assert sure.seen[1].vector == ()


@pytest.mark.parametrize("kind", [SLM_ANSWER, LLM_SYNTHESIZE])
async def test_an_answer_that_no_model_fits_to_its_schema_is_an_empty_draft(kind: Any) -> None:
    """The run goes on by its low-confidence branch; what the tries cost is booked."""
    misfit = UnusableAnswerError("the answer does not fit its schema: it is not JSON")
    misfit.usd = 0.01
    models = Similar(usd=0.02, fails=misfit)
    given = services(retriever=FakeRetriever(TEXTS), models=models)
    node = kind.make("answer", kind.settings(prompt="answer", style="quote"))
    update = await governed(node, state(given), given)
    assert (update["answer"]["text"], update["answer"]["confidence"], update["answer"]["finish"]) == ("", 0.0, "error")
    assert update["spend"]["usd"] == 0.01
    assert not update["spend"]["stopped"]


async def test_free_text_that_no_model_gives_stays_an_error() -> None:
    given = services(retriever=FakeRetriever(TEXTS), models=FakeModels(fails=UnusableAnswerError("garbage")))
    with pytest.raises(UnusableAnswerError):
        await governed(SLM_ANSWER.make("answer", SlmAnswer(prompt="answer")), state(given), given)
