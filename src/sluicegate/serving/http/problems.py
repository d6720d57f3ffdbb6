"""Errors as RFC 9457 problems: an HTTP status for each code, and no texts of runs.

Client errors are described in full. Internal errors are given by code and run: the run's trace has the rest, for those
who may see it.
"""

from sluicegate.errors import CODES, SluicegateError
from sluicegate.serving.http.messages import Problem
from sluicegate.serving.limits import Busy

__all__ = ["MEDIA_TYPE", "TITLES", "of_error", "of_status"]

MEDIA_TYPE = "application/problem+json"

_STATUS: dict[str, int] = {
    "SG601": 422, "SG602": 413, "SG603": 404, "SG604": 409, "SG605": 409, "SG608": 503, "SG610": 403, "SG619": 401,
    "SG620": 503, "SG621": 409, "SG622": 422, "SG625": 503,
    "SG626": 422, "SG638": 422, "SG640": 404, "SG641": 409, "SG650": 410, "SG642": 422, "SG660": 503,
    "SG690": 503, "SG735": 403, "SG736": 422,
}  # fmt: skip
"""Statuses of client errors, and of what passes: a full server (SG620), a database that is away (SG625, SG690).
Everything else is a 500, and a model that does not answer a 502."""

TITLES = {
    400: "Bad request", 401: "Unauthorized", 403: "Forbidden", 404: "Not found", 405: "Method not allowed",
    408: "Request timeout", 409: "Conflict", 410: "Gone", 413: "Too large", 415: "Not JSON", 421: "Misdirected request",
    422: "Invalid request", 429: "Too many requests", 500: "Failed", 502: "Model failed",
    503: "Service unavailable",
}  # fmt: skip


def of_error(error: SluicegateError, *, run: str = "") -> Problem:
    """The problem that an error is."""
    status = _STATUS.get(error.code, 502 if error.code.startswith("SG3") else 500)
    if isinstance(error, Busy) and error.theirs:
        status = 429
    told = status < 500 or isinstance(error, Busy)
    return Problem(
        type=f"urn:sluicegate:{error.code}",
        title=TITLES[status],
        status=status,
        detail=error.message if told else CODES[error.code],
        code=error.code,
        hint=(error.hint or "") if told else "",
        run=run,
    )


def of_status(status: int, detail: str, *, hint: str = "") -> Problem:
    """A call that did not reach the service (SG622)."""
    return Problem(
        type="urn:sluicegate:SG622",
        title=TITLES.get(status, "Failed"),
        status=status,
        detail=detail,
        code="SG622",
        hint=hint,
        run="",
    )
