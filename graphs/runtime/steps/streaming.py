"""A draft sent sentence by sentence, each when it has passed its checks.

`graphs.proofs.streaming` says where that may be. Each time a sentence is complete, the guards of the checks ahead judge
the draft from its beginning, so a finding that reaches over two sentences is found too; what passed, with redactions
applied, is sent. What fails is held, and tried again with the sentence after it. The check node then judges the whole
text as it always does: the outcome is the answer, also where its text is another one than what was sent.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Protocol

from sluicegate.errors import SluicegateError
from sluicegate.graphs.conditions.fields import fields
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.proofs.shape import reached, successors
from sluicegate.graphs.proofs.streaming import Streaming, streaming
from sluicegate.nodes.kinds.answering import in_one_draft
from sluicegate.nodes.kinds.output_check import checked_with
from sluicegate.nodes.writing.generation import cited
from sluicegate.segmentation import segments
from sluicegate.services import Completion, ModelRequest, Models, ModelStep, Services
from sluicegate.state import State

__all__ = ["OnText", "Streams", "sending"]

OnText = Callable[[str], None]
"""Gets each piece of an answer, in order, on the thread of the run; together they are its beginning."""

_ON_TEXT: ContextVar[OnText | None] = ContextVar("on_text", default=None)


@contextmanager
def sending(on_text: OnText | None) -> Generator[None]:
    """Send what runs within the block write and check, also in tasks that are started within."""
    token = _ON_TEXT.set(on_text)
    try:
        yield
    finally:
        _ON_TEXT.reset(token)


class KnownCondition(Protocol):
    def values(self, state: State) -> Mapping[str, object]: ...

    def known(self, facts: Mapping[str, object]) -> bool | None: ...


class Streams:
    """Sends what a workflow's writing nodes draft, where that is allowed."""

    def __init__(self, flow: Flow, conditions: Mapping[str, KnownCondition], settings: Mapping[str, object]) -> None:
        self._flow, self._conditions = flow, conditions
        # a text of sections is made of several drafts, and an installed kind may change what its model has written
        writers = {name for name, one in settings.items() if in_one_draft(one)}
        self._after = {name: reached([name], successors(flow)) for name in writers}
        """What a run may come to from each writer on, itself included."""

    @asynccontextmanager
    async def of(self, name: str, state: State, services: Services) -> AsyncGenerator[Services]:
        """The services for a visit of a node: with a listener, models that send what they write."""
        on_text = _ON_TEXT.get()
        plan = self._plan(name, state) if on_text and name in self._after else None
        if on_text is None or plan is None or plan.why_not:
            yield services
            return

        async def judged(text: str) -> str | None:
            told = checked_with(state, services, len(cited(text, state.get("documents", []))))
            report = await services.guards.check(plan.guards, text, **told)
            return report.text if all(one["passed"] or one["action"] == "redact" for one in report.results) else None

        yield replace(services, models=_Sending(services.models, judged, on_text))

    def _plan(self, name: str, state: State) -> Streaming:
        # what an end writes decides no branch
        after = [node for node in map(self._flow.nodes.__getitem__, self._after[name]) if node.edges]
        written = _CHANGING.union(*(node.writes for node in after))

        def truth(text: str) -> bool | None:
            condition, known = self._conditions[text], fields()
            values = condition.values(state).items()
            return condition.known(
                {field: value for field, value in values if value is not None and known[field].key not in written}
            )

        return streaming(self._flow, name, truth)


_CHANGING = frozenset({"spend", "failure", "run", "trail"})
"""What a run keeps of itself, whichever nodes it comes to."""


class _Sending(ModelStep):
    """Models whose free text is sent as far as it has passed."""

    def __init__(self, models: Models, judged: Callable[[str], Awaitable[str | None]], on_text: OnText) -> None:
        super().__init__(models)
        self._judged, self._on_text = judged, on_text

    async def chat(self, request: ModelRequest) -> Completion:
        if request.schema is not None:
            return await super().chat(request)
        draft = _Draft(self._judged, self._on_text)
        try:
            return await super().chat(replace(request, on_token=draft.add))
        finally:
            await draft.end()


_BEGUN_AFTER_END = re.compile(r"[.!?…:。！？؟।\n]\s*\S")
"""What stands where one sentence is complete and another has begun; finding out whether one is takes longer."""


class _Draft:
    """A text that grows, and how much of it has been sent."""

    def __init__(self, judged: Callable[[str], Awaitable[str | None]], on_text: OnText) -> None:
        self._judged, self._on_text = judged, on_text
        self._text = self._sent = ""
        self._complete = 0
        """Where the sentence begins that is not complete."""
        self._work: asyncio.Task[None] | None = None

    def add(self, piece: str) -> None:
        self._text = (self._text + piece).lstrip()
        if not _BEGUN_AFTER_END.search(self._text, self._complete):
            return
        every = segments(self._text)
        if len(every) > 1 and every[-1].start > self._complete:
            self._complete = every[-1].start
            if self._work is None or self._work.done():
                self._work = asyncio.create_task(self._send())

    async def _send(self) -> None:
        """Judge the longest text of whole sentences, and what has come meanwhile, until there is no more."""
        done = 0
        while done < self._complete:
            done = self._complete
            try:
                passed = await self._judged(self._text[:done].rstrip())
            except SluicegateError:  # what a guard needs and has not: the check node says so
                passed = None
            # a redaction that reaches into what was sent has come too late to be followed
            if passed is not None and passed.startswith(self._sent) and passed != self._sent:
                piece, self._sent = passed[len(self._sent) :], passed
                self._on_text(piece)

    async def end(self) -> None:
        if self._work:
            await self._work
