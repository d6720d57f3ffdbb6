"""A small workflow with a `for-each`, on stand-in services: documents are found, each is assessed, a draft is sent."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sluicegate.graphs.conditions.conditions import Conditions
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.runtime.build import build
from sluicegate.graphs.runtime.checkpoints import open_checkpoints
from sluicegate.graphs.runtime.run import Runner
from sluicegate.graphs.runtime.waiting.approvals import Approvals
from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.kinds.answering import SlmAnswer
from sluicegate.nodes.kinds.control.for_each import ForEach
from sluicegate.nodes.kinds.retrieve import Retrieve
from sluicegate.nodes.kinds.terminal import Refuse
from sluicegate.services import Completion, ModelRequest, Prompt, Services
from sluicegate.state import DocumentRef
from sluicegate.storage.postgres import configured
from tests.support.fakes import FakeModels, FakePrompts, FakeRetriever, services
from tests.support.flows import ANN


@dataclass
class ManyDocuments(FakeRetriever):
    """As many passages as wanted; the text of the third is ``Text 2.``"""

    count: int = 5

    async def search(self, index: str, query: str, principal: Any, *, k: int) -> list[DocumentRef]:
        (first,) = await FakeRetriever().search(index, query, principal, k=k)
        return [{**first, "id": f"kb-{n}", "hash": f"h{n}"} for n in range(self.count)]

    def text(self, document: DocumentRef) -> str:
        return f"Text {document['hash'][1:]}."


@dataclass
class Echo(FakeModels):
    """Answers with what it was asked, and fails where that has one of these words."""

    poison: Mapping[str, Exception] = field(default_factory=dict[str, Exception])

    async def chat(self, request: ModelRequest) -> Completion:
        text = request.messages[-1].content
        for word, error in self.poison.items():
            if word in text:
                self.asked.append((request.role, tuple(request.messages)))
                raise error
        return replace(await super().chat(request), text=text)


class ItemPrompts(FakePrompts):
    """Renders everything that it is given, by name."""

    def render(self, id: str, **values: str) -> Prompt:
        text = "\n".join(f"{name}={value}" for name, value in sorted(values.items()))
        return replace(super().render(id), messages=(replace(super().render(id).messages[0], content=text),))


def node(name: str, kind: str, *edges: tuple[str | None, str], **more: Any) -> FlowNode:
    return FlowNode(name, kind, edges=tuple(Edge(to, when) for when, to in edges), **more)


ASSESS = node("assess", "slm-answer", (None, "each"), within="each", on_error=Edge("each"))


def flow(
    *within: FlowNode, on_error: bool = False, then: tuple[tuple[str | None, str], ...] = ((None, "draft"),)
) -> Flow:
    nodes = [
        node("facts", "retrieve", (None, "each")),
        node("each", "for-each", *then, do="assess", on_error=Edge("sorry") if on_error else None),
        *(within or (ASSESS,)),
        node("draft", "slm-answer", (None, "respond")),
        node("respond", "respond"),
        node("sorry", "refuse"),
    ]
    return Flow("facts", {each.name: each for each in nodes})


def settings(**each: Any) -> dict[str, Any]:
    own: dict[str, Any] = {"over": "documents", "do": "assess", "at_most": 20, "collect": "notes", **each}
    return {
        "facts": Retrieve(index="kb"),
        "each": ForEach(**own),
        "assess": SlmAnswer(prompt="assess"),
        "draft": SlmAnswer(prompt="draft"),
        "respond": NoSettings(),
        "sorry": Refuse(),
    }


def given(**replaced: Any) -> Services:
    return services(**{"models": Echo(), "retriever": ManyDocuments(), "prompts": ItemPrompts(), **replaced})


def runner(
    home: Path,
    of: Flow | None = None,
    own: Mapping[str, Any] | None = None,
    using: Services | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> Runner:
    home.mkdir(parents=True, exist_ok=True)
    where, own, using, compiler = configured() or home, own or settings(), using or given(), Conditions()
    texts = {edge.condition for each in (of or flow()).nodes.values() for edge in each.edges if edge.condition}
    graph = build(
        of or flow(),
        conditions or {text: compiler.compile(text) for text in texts},
        own,
        lists={"each": compiler.compile_list(own["each"].over)},
        checkpointer=open_checkpoints(where),
    )
    return Runner(graph, using, tracer=using.tracer, approvals=Approvals(where))  # type: ignore[arg-type]


def killed_at(home: str, word: str) -> None:
    """Run a request, for a process of its own, which is killed when a model is asked something with this word."""

    class Deadly(Echo):
        async def chat(self, request: ModelRequest) -> Completion:
            for _ in range(50):  # a model takes its time, in which what has ended is written
                await asyncio.sleep(0)
            if word in request.messages[-1].content:
                os.kill(os.getpid(), signal.SIGKILL)
            return await super().chat(request)

    made = runner(Path(home), own=settings(at_once=1), using=given(models=Deadly()))
    asyncio.run(made.run("How?", ANN, run="killed"))
