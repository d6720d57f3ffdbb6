"""Pattern 8 on stand-in models: its three indexes side by side, and what becomes of a brief that lacks one of them."""

import asyncio
import shutil
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import RetrievalError
from sluicegate.graphs.config.check import check
from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.services import Completion, ModelRequest
from sluicegate.state import DocumentRef
from tests.support import ROOT
from tests.support.fakes import FakeGuards, FakeModels, FakeRetriever
from tests.support.flows import way
from tests.support.helpdesk import fakes

FOLDER = ROOT / "configs" / "patterns" / "8-parallel-research"
ANN = principal("ann", ["employee", "account-manager"], clearance="confidential")
RESEARCH = principal("rea", ["research"], clearance="confidential")
BRANCHES = ("products", "contracts", "incidents")
GATHERED = ["classify", "gate", "research", *BRANCHES, "found_all"]


@dataclass
class Shelves(FakeRetriever):
    """Three indexes of a document each. Nothing is found in those of `bare`, `broken` cannot be searched, and each
    search but the last waits until all have begun; the last to begin is the first to end."""

    bare: Collection[str] = ()
    broken: str = ""
    together: int = 1
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.texts = {name: f"A sentence of {name}." for name in BRANCHES}

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        self.begun.append(index)
        turn = len(self.begun)
        while len(self.begun) < self.together or len(self.ended) < self.together - turn:
            await asyncio.sleep(0)
        if index == self.broken:
            raise RetrievalError("SG403", "the index cannot be read")
        self.ended.append(index)
        found: DocumentRef = {
            "id": index, "version": "1", "title": index, "source": f"knowledge/{index}/1.md", "score": 0.8,
            "span": [0, 20], "hash": index, "classification": "internal",
        }  # fmt: skip
        return [] if index in self.bare else [found]


@dataclass
class Drafts(FakeModels):
    """The large model writes these, one after another."""

    drafts: list[str] = field(default_factory=list)

    async def chat(self, request: ModelRequest) -> Completion:
        if request.role == "llm":
            self.answers = {**self.answers, "llm": self.drafts.pop(0)}
        return await super().chat(request)


def opened(label: str = "brief", confidence: float = 0.99, **replaced: Any) -> Opened:
    return open_workflow(FOLDER / "workflow.yaml", change=fakes(label, confidence, **replaced))


async def asked(label: str = "brief", confidence: float = 0.99, **replaced: Any) -> Outcome:
    return await opened(label, confidence, **replaced).runner.run("Prepare a brief on Kestrel", ANN)


def variant(at: Path, old: str, new: str) -> Path:
    file = shutil.copytree(FOLDER, at / "research") / "workflow.yaml"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    return file


@pytest.mark.slow
async def test_a_brief_rests_on_three_indexes_that_are_searched_at_the_same_time() -> None:
    shelves = Shelves(together=3)
    outcome = await asked(retriever=shelves)
    assert shelves.ended == shelves.begun[::-1]
    assert way(outcome.state) == [*GATHERED, "brief", "check_brief", "respond"]
    assert [document["id"] for document in outcome.state.get("documents", [])] == [*BRANCHES]
    assert [entry["within"] for entry in outcome.state.get("trail", ()) if "within" in entry] == [
        f"research/{name}" for name in BRANCHES
    ]
    assert outcome.summary.llm_calls == 3, "a call for each section"
    assert (outcome.status, outcome.path) == ("answered", "rag-llm")


@pytest.mark.slow
@pytest.mark.parametrize("bare", [*BRANCHES])
@pytest.mark.parametrize(("verdict", "status"), [("approve", "answered"), ("reject", "refused")])
async def test_a_brief_that_lacks_an_index_waits_for_a_person(bare: str, verdict: str, status: str) -> None:
    made = opened(retriever=Shelves(bare=[bare]))
    outcome = await made.runner.run("Prepare a brief on Kestrel", ANN)
    assert outcome.waiting is not None
    assert outcome.waiting["node"] == "approve"
    assert way(outcome.state)[-1] == "check_brief"
    done = await made.runner.decide(outcome.run, verdict, RESEARCH, reason="seen")
    assert done.status == status


async def test_where_nothing_is_found_no_model_writes() -> None:
    models = FakeModels()
    outcome = await asked(retriever=Shelves(bare=BRANCHES), models=models)
    assert way(outcome.state) == [*GATHERED, "decline"]
    assert models.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("broken", [*BRANCHES])
async def test_an_index_that_cannot_be_searched_ends_the_research(broken: str) -> None:
    models = FakeModels()
    outcome = await asked(retriever=Shelves(broken=broken), models=models)
    assert way(outcome.state)[-1] == "unavailable"
    assert (outcome.state.get("failure") or {}).get("node") == broken
    assert "cannot be searched" in outcome.text
    assert models.asked == []


@pytest.mark.parametrize(
    ("label", "index"), [("product", "products"), ("contract", "contracts"), ("incident", "incidents")]
)
async def test_a_simple_question_goes_to_one_index_and_the_small_model(label: str, index: str) -> None:
    shelves = Shelves()
    outcome = await asked(label, retriever=shelves)
    assert way(outcome.state) == ["classify", "gate", label, "found_one", "answer", "check", "respond"]
    assert shelves.begun == [index]
    assert outcome.summary.llm_calls == 0


@pytest.mark.slow
async def test_where_it_is_unsure_of_the_index_it_searches_all_and_asks_the_small_model() -> None:
    outcome = await asked("product", 0.3, retriever=Shelves())
    assert way(outcome.state) == [*GATHERED, "answer", "check", "respond"]
    assert outcome.summary.llm_calls == 0


@pytest.mark.slow
async def test_a_section_that_fails_its_check_is_written_again_alone() -> None:
    """With the real guards: the contract's section says what no passage says."""
    drafts = ["A sentence of products. [1]", "They pay 9,000 dollars. [2]", "A sentence of incidents. [3]", ""]
    models = Drafts(parsed={"sentences": [1]}, drafts=drafts)
    real = open_workflow(FOLDER / "workflow.yaml").runner.services.guards
    outcome = await asked(retriever=Shelves(), models=models, guards=real)
    assert way(outcome.state)[-4:] == ["check_brief", "brief", "check_brief", "respond"]
    assert outcome.summary.llm_calls == 4
    assert "9,000" not in outcome.text
    assert "A sentence of products" in outcome.text


@pytest.mark.slow
async def test_after_two_failed_drafts_a_person_decides() -> None:
    outcome = await asked(retriever=Shelves(), guards=FakeGuards(failing={"grounded": "escalate"}))
    assert outcome.waiting is not None
    assert way(outcome.state)[-4:] == ["brief", "check_brief", "brief", "check_brief"]


SYNTHESIS = "intent.task == 'synthesis'\",           go:"
SEARCH = "{kind: retrieve, index: %s guards: [injection], timeout: 20s, then: %s}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"{SYNTHESIS} research", f"{SYNTHESIS} brief"),
        ("go: brief}\n      - {otherwise: answer}", "go: answer}\n      - {otherwise: brief}"),
        (SEARCH % ("incidents,", "found_all"), "{kind: policy-check, then: found_all}"),
    ],
    ids=["a brief past the fork", "questions to the large model", "a branch whose denial the join forgets"],
)
def test_what_breaks_a_promise_does_not_start(old: str, new: str, tmp_path: Path) -> None:
    assert "SG134" in [problem.code for problem in check(variant(tmp_path, old, new)).problems]


def test_branches_that_would_write_the_same_draft_are_refused(tmp_path: Path) -> None:
    file = variant(tmp_path, SEARCH % ("products, ", "found_all"), SEARCH % ("products, ", "note_a"))
    text = file.read_text(encoding="utf-8")
    text = text.replace(SEARCH % ("contracts,", "found_all"), SEARCH % ("contracts,", "note_b"))
    notes = "".join(f"  note_{one}: {{kind: slm-answer, prompt: answer, then: found_all}}\n" for one in "ab")
    file.write_text(text.replace("  found_all:\n", f"{notes}  found_all:\n"), encoding="utf-8")
    (problem,) = [one for one in check(file).problems if one.code == "SG141"]
    assert "'note_a' writes answer while 'note_b'" in problem.message
