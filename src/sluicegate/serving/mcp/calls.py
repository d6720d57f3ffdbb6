"""A call of a tool, carried out for the person who makes it.

A call that is cancelled, or whose client has gone, cancels nothing that was accepted.
"""

import asyncio
import logging
import traceback
from collections.abc import Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from mcp.server import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, ElicitResult, InputRequiredResult
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from sluicegate.errors import NodeFailedError, SluicegateError
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.plain_data import clean
from sluicegate.serving.http import messages, replies
from sluicegate.serving.http.calls import begun
from sluicegate.serving.http.endpoints import standing
from sluicegate.serving.http.events import Progress, progress_of
from sluicegate.serving.in_progress import Accepted
from sluicegate.serving.mcp import results
from sluicegate.serving.mcp.messages import ApprovalsCall, DecisionCall, ReplyCall, RunCall, WorkflowCallWithTables
from sluicegate.serving.mcp.tools import ANSWER, APPROVALS, DECIDE, FIND, arguments_of
from sluicegate.serving.service import Service
from sluicegate.serving.workflows import Workflows
from sluicegate.state import Principal

__all__ = ["CalledTool", "Context", "unexpected"]

Context = ServerRequestContext[Any, Any]

Result = CallToolResult | InputRequiredResult

log = logging.getLogger(__name__)


class CalledTool:
    """One call of one tool."""

    def __init__(self, workflows: Workflows, context: Context, call: CallToolRequestParams, asker: Principal) -> None:
        self._workflows, self._context, self._call, self._asker = workflows, context, call, asker
        self._arguments: Mapping[str, Any] = call.arguments or {}
        self._run, self._named = "", False
        """The run it is about, and whether a `request_id` names it."""

    async def result(self) -> Result:
        """Raises `MCPError` for a tool that there is not; whatever else fails is the tool's failure."""
        tools = {
            **{each.name: partial(self._ask, each) for each in self._workflows},
            FIND: self._find,
            ANSWER: self._answer,
            APPROVALS: self._approvals,
            DECIDE: self._decide,
        }
        if self._call.name not in tools:
            raise MCPError(INVALID_PARAMS, f"Unknown tool: {self._call.name}")
        try:
            return await tools[self._call.name]()
        except ValidationError as error:
            return results.misfit("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]))
        except SluicegateError as error:
            return results.failure(error, run=self._run, again=self._named)
        except Exception as error:
            unexpected(error, self._run)
            return results.failure(NodeFailedError(""), run=self._run, again=self._named)

    async def _ask(self, service: Service) -> Result:
        if self._call.request_state is not None:
            return await self._asked_back(self._call.request_state)
        asked = arguments_of(service.versions.serving.workflow).model_validate(self._arguments)
        self._named = bool(asked.request_id)
        progress = Progress()
        accepted = await service.accept(
            asked.text,
            self._asker,
            attachments=asked.attachments if isinstance(asked, WorkflowCallWithTables) else {},
            session=asked.session,
            request_id=asked.request_id,
            priority=self._priority,
            on_step=progress.put_from_elsewhere,
        )
        return await self._ended(service, accepted, progress)

    @property
    def _priority(self) -> str:
        """What the host has put into `_meta`: a model that calls a tool has no say in it."""
        return str(dict(self._context.meta or {}).get("sluicegate/priority", ""))

    async def _asked_back(self, run: str) -> Result:
        """The call again, with what the requester has said to the run's question; or they did not want to."""
        reply = (self._call.input_responses or {}).get(results.QUESTION)
        text = (reply.content or {}).get("text") if isinstance(reply, ElicitResult) else None
        if isinstance(text, str) and text.strip():
            return await self._replied(run, text)
        return results.run_result(await self._standing(run))

    async def _find(self) -> Result:
        return results.run_result(await self._standing(RunCall.model_validate(self._arguments).run))

    async def _answer(self) -> Result:
        given = ReplyCall.model_validate(self._arguments)
        return await self._replied(given.run, given.text)

    async def _approvals(self) -> Result:
        wanted = ApprovalsCall.model_validate(self._arguments)
        found = await self._workflows.approvals(
            self._asker, limit=wanted.limit, after=wanted.after, workflow=wanted.workflow
        )
        return results.plain(messages.Approvals(approvals=[replies.asked(each) for each in found], next=found.next))

    async def _decide(self) -> Result:
        given = DecisionCall.model_validate(self._arguments)
        if (given.verdict == "edit") != (bool(given.text.strip()) or given.arguments is not None):
            return results.misfit("text or arguments: one is required for the verdict edit, and allowed only there")
        service = await self._workflows.of_run(given.run)
        accepted = await service.accept_decision(
            given.run, given.verdict, self._asker, reason=given.reason, text=given.text, arguments=given.arguments
        )
        return await self._ended(service, accepted)

    # --- shared ---

    async def _standing(self, run: str) -> messages.Run:
        service = await self._workflows.of_run(run)
        said = await standing(service, run, self._asker)
        self._about(said.run)
        return said

    async def _replied(self, run: str, text: str) -> Result:
        service = await self._workflows.of_run(run)
        cleaned, _ = clean(text)
        accepted = await service.accept_decision(run, "answer", self._asker, changed="kept", text=cleaned)
        return await self._ended(service, accepted)

    async def _ended(self, service: Service, accepted: Accepted, progress: Progress | None = None) -> Result:
        """What becomes of it, or that it takes longer; the client is told of each step if it has asked to be."""
        self._about(accepted.run)
        following = progress_of(accepted, progress or Progress())
        steps, said = 0, begun(service, accepted.run)
        with suppress(TimeoutError):
            async with asyncio.timeout(service.limits.timeout_s), aclosing(following):
                async for one in following:
                    if isinstance(one, Outcome):
                        said = replies.answered(one)
                    elif isinstance(one, dict):
                        steps += 1
                        await self._context.session.report_progress(steps, message=one["node"])
        return results.question(said) if said.question and self._elicits() else results.run_result(said)

    def _elicits(self) -> bool:
        """Whether the client asks its user itself, and then calls again."""
        capabilities = self._context.session.client_capabilities
        asks = capabilities.elicitation if capabilities else None
        forms = asks is not None and (asks.form is not None or asks.url is None)
        return forms and self._context.protocol_version in MODERN_PROTOCOL_VERSIONS

    def _about(self, run: str) -> None:
        """Note which run it is about, for the access log too."""
        self._run = run
        if self._context.request is not None:
            self._context.request.state.run = run


def unexpected(error: Exception, run: str = "") -> None:
    """Log it without its words: those may be a request's or a model's."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s in run %s\n%s", type(error).__name__, run or "-", where)
