"""A call of either API as a run: taken on as `POST /v1/runs` does, and told as a message."""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from starlette.requests import Request

from sluicegate.errors import NoTurnError, UnknownWorkflowError
from sluicegate.graphs.runtime.intake import new_run_id
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.serving.http import messages, replies
from sluicegate.serving.http.callers import Caller, Named
from sluicegate.serving.http.calls import acting_for, begun, workflows_of
from sluicegate.serving.http.events import Progress, progress_of
from sluicegate.serving.http.openai.errors import CallRefusal
from sluicegate.serving.http.openai.messages import CallExtension, ChatCall, ResponseCall, RunFields
from sluicegate.serving.in_progress import Accepted
from sluicegate.serving.service import Service

__all__ = ["Reply", "Taken", "take_on", "workflow_of"]

_KEY = 200
"""Characters of an `Idempotency-Key`, as of a `request_id`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the message says, and the run behind it."""

    text: str
    fields: RunFields


def _told(said: messages.Run, *, session: str = "", ignored: Sequence[str] = (), sent: str = "") -> Reply:
    """The message that a run's state is: an answer, a refusal with its reason, or what it waits for."""
    replaced = "" if said.answer.startswith(sent) else sent
    fields = RunFields(**dict(said), session=session, ignored=[*ignored], replaced=replaced)
    if said.approval:
        text = (
            f"A person decides on this request ({said.approval.approvers}); it has been passed on. There is no answer "
            f"before that. Reference: {said.run}"
        )
    elif not (text := said.answer or said.reason) and said.status in ("running", "waiting"):
        text = f"This takes longer; it is still being worked on. Reference: {said.run}"
    return Reply(text, fields)


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that was taken on for a call."""

    service: Service
    accepted: Accepted
    model: str
    ignored: list[str]
    progress: Progress | None
    created: int

    @property
    def run(self) -> str:
        return self.accepted.run

    def reply(self, outcome: Outcome, sent: str = "") -> Reply:
        session = outcome.state["run"].get("conversation", "")
        return _told(replies.answered(outcome), session=session, ignored=self.ignored, sent=sent)

    async def whole(self) -> Reply:
        """What becomes of it, or that it takes longer. Raises what `Service.ask` raises."""
        try:
            async with asyncio.timeout(self.service.limits.timeout_s):
                return self.reply(await self.accepted.outcome())
        except TimeoutError:
            return _told(begun(self.service, self.run), ignored=self.ignored)

    async def pieces(self) -> AsyncGenerator[str | Reply | None]:
        """The message as it comes, piece by piece, None where for long there was none, and last the reply.

        What was sent cannot be taken back: an answer that does not begin with it follows after a blank line.
        """
        assert self.progress is not None
        sent = ""
        async with aclosing(progress_of(self.accepted, self.progress)) as following:
            async for one in following:
                if isinstance(one, Outcome):
                    reply = self.reply(one, sent)
                    rest = f"\n\n{reply.text}" if reply.fields.replaced else reply.text[len(sent) :]
                    if rest:
                        yield rest
                    yield reply
                elif one is None:
                    yield None
                elif isinstance(one, str):
                    sent += one
                    yield one


async def take_on(
    request: Request,
    caller: Caller,
    call: ChatCall | ResponseCall,
    questions: Sequence[str],
    *,
    ignored: list[str],
    session: str = "",
    after: str = "",
) -> Taken:
    """Begin the run that a call is. Raises `CallRefusal`, and what `Service.accept` raises."""
    service, more = workflow_of(request, call.model), call.sluicegate or CallExtension()
    named = more.principal or (Named(id=call.user) if call.user and caller.claims is not None else None)
    asker = acting_for(request, caller, named)
    key = request.headers.get("idempotency-key", "")
    if len(key) > _KEY:
        raise CallRefusal(f"The header Idempotency-Key may have {_KEY} characters.", code="invalid_value")
    run = request.state.run = service.run_id(asker, key) if key else new_run_id()
    session = session or more.session
    # an application's users, where it does not ask for each as a principal of their own
    user = call.user or call.safety_identifier or ""
    progress = Progress() if call.stream else None
    try:
        accepted = await service.accept(
            questions[-1],
            asker,
            run=run,
            request_id=key,
            priority=more.priority or "",
            session=session,
            history=None if session or after else [user, *questions[:-1]],
            after=after,
            on_text=progress.put_from_elsewhere if progress else None,
        )
    except NoTurnError:
        raise CallRefusal(
            f"Previous response with id 'resp_{after}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        ) from None
    # the answer to what a run has asked is that run's
    request.state.run, request.state.begun = accepted.run, not key
    return Taken(service, accepted, call.model, ignored, progress, int(time.time()))


def workflow_of(request: Request, model: str) -> Service:
    """The workflow that a model is. Raises `CallRefusal`."""
    try:
        return workflows_of(request).of(model)
    except UnknownWorkflowError:
        raise CallRefusal(
            f"The model '{model}' does not exist or you do not have access to it.",
            param="model",
            code="model_not_found",
            status=404,
        ) from None
