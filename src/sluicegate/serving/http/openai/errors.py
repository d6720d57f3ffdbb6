"""Errors in the form that OpenAI's clients read."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse, Response

from sluicegate.serving.http.calls import Fault
from sluicegate.serving.http.messages import Problem
from sluicegate.serving.http.problems import of_status

__all__ = ["CallError", "CallRefusal", "described", "misfit", "reply"]

_STATUS = {415: 400, 422: 400}
"""What OpenAI has no status for."""
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_FINAL = ("SG621",)
"""Codes of what no repetition mends, although clients repeat what has its status."""


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None
    sluicegate: dict[str, str]
    """`code`, `hint` and `run`, as in the problems of the other endpoints."""


class CallError(BaseModel):
    """What went wrong."""

    error: ErrorDetail


class CallRefusal(Fault):
    """A call that does not fit this API."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(of_status(status, message))
        self.param, self.code = param, code


def described(problem: Problem, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The value of `error`."""
    status = problem.status
    hint = f". {problem.hint}" if problem.hint else ""
    return ErrorDetail(
        message=f"{problem.detail}{hint}",
        type="server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error",
        param=param,
        code=code or _CODES.get(status),
        sluicegate={"code": problem.code, "hint": problem.hint, "run": problem.run},
    ).model_dump()


def reply(fault: Fault, *, begun: bool) -> Response:
    """The answer to a call that failed. Where its run was `begun`, a client that repeats the call by itself would begin
    another one: it is told not to."""
    problem = fault.problem
    more = {"param": fault.param, "code": fault.code} if isinstance(fault, CallRefusal) else {}
    response = JSONResponse({"error": described(problem, **more)}, _STATUS.get(problem.status, problem.status))
    if begun or problem.code in _FINAL:
        response.headers["x-should-retry"] = "false"
    return response


def misfit(error: ValidationError, model: type[BaseModel]) -> CallRefusal:
    """A body of the wrong form; nothing of it is repeated."""
    # of the kinds of a union, the one that fits best
    first = max(error.errors(), key=lambda each: len(each["loc"]))
    param = _path(first["loc"], model.model_fields)
    if first["type"] == "missing":
        return CallRefusal(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if first["type"] == "extra_forbidden":
        return unknown(param)
    return CallRefusal(
        f"Invalid value: '{param or 'body'}': {first['msg']}.", param=param or None, code="invalid_value"
    )


def unknown(param: str) -> CallRefusal:
    return CallRefusal(f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def _path(place: Sequence[int | str], fields: Mapping[str, Any]) -> str:
    """Such as ``messages[0].content``; without pydantic's names for the kinds of a union."""
    path = ""
    for part in place:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.isidentifier() and (path or part in fields) and part not in _KINDS:
            path += f".{part}" if path else part
    return path


_KINDS = frozenset({"str", "list", "bool", "int", "dict", "ConversationName"})
