"""What the tools answer: a run's state as structured content, and in words what a client's model is to make of it."""

from mcp.types import (
    CallToolResult,
    ContentBlock,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    TextContent,
)
from pydantic import BaseModel

from sluicegate.errors import SluicegateError
from sluicegate.serving.http.messages import Run
from sluicegate.serving.http.problems import of_error
from sluicegate.serving.mcp.messages import RunResult
from sluicegate.serving.mcp.resources import link_to, uri_of
from sluicegate.serving.mcp.tools import ANSWER, FIND

__all__ = ["QUESTION", "failure", "misfit", "plain", "question", "run_result"]

QUESTION = "question"
"""What a client's reply to a run's question comes under."""


def run_result(said: Run) -> CallToolResult:
    """A refusal is an answer; only a run that has failed is an error."""
    result = RunResult.of(said, uri_of)
    content: list[ContentBlock] = [TextContent(text=_words(said))]
    content += [link_to(each) for each in {each.document: each for each in result.citations}.values()]
    return CallToolResult(
        content=content, structured_content=result.model_dump(mode="json"), is_error=said.status == "failed"
    )


def question(said: Run) -> InputRequiredResult:
    """For a client that asks its user itself, what a run asks the requester. The call that follows has the run, and is
    let in by who makes it: the run says nothing that its requester may not know."""
    assert said.question is not None
    form = ElicitRequestFormParams(
        message=said.question.text,
        requested_schema={
            "type": "object",
            "properties": {"text": {"type": "string", "title": "Your answer", "minLength": 1}},
            "required": ["text"],
        },
    )
    return InputRequiredResult(input_requests={QUESTION: ElicitRequest(params=form)}, request_state=said.run)


def plain(said: BaseModel) -> CallToolResult:
    """For what has no better words than its own JSON."""
    return CallToolResult(
        content=[TextContent(text=said.model_dump_json())], structured_content=said.model_dump(mode="json")
    )


def failure(error: SluicegateError, *, run: str = "", again: bool = False) -> CallToolResult:
    """A call that came to nothing; `again` where a call with the same `request_id` takes its run up again."""
    problem = of_error(error, run=run)
    hint = problem.hint or ("Call again with the same request_id to take the run up again" if again else "")
    words = [f"{problem.code}: {problem.detail}", hint, f"Run: {run}" if run else ""]
    return CallToolResult(
        content=[TextContent(text=". ".join(part for part in words if part))],
        is_error=True,
        _meta={"sluicegate": {"code": problem.code, "hint": hint, "run": run}},
    )


def misfit(wrong: str) -> CallToolResult:
    """Arguments that do not fit a tool's schema: told as the tool's failure, which a client's model can mend."""
    return CallToolResult(content=[TextContent(text=f"Invalid arguments: {wrong}")], is_error=True)


def _words(said: Run) -> str:
    later = f"To see what became of it, call {FIND} with the run {said.run}."
    if said.approval:
        until = f"{said.approval.deadline:%Y-%m-%d %H:%M %Z}"
        return (
            f"A person decides on this request ({said.approval.approvers}, until {until}). There is no answer before "
            f"that. {later}"
        )
    if said.question:
        return (
            f"{said.question.text}\n\nThe run waits for the requester's answer to this. Ask them, and pass it on by "
            f"{ANSWER} with the run {said.run}."
        )
    if said.status in ("running", "waiting"):
        return f"This takes longer; it is still being worked on. {later}"
    return said.answer or said.reason
