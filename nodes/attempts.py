"""The attempts of one visit of a node: each under its time limit, repeated where its failure may pass.

LangGraph's own retries repeat a step as if nothing had happened. Here a failed attempt has cost money, which the run's
`spend` must say, and the last one may lead to an error branch, whose decision belongs into the same checkpoint.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from langgraph.errors import GraphBubbleUp
from pydantic import Field

from sluicegate.errors import ModelError, NodeFailedError, RunError, SluicegateError, StoppedError, UnreachableError
from sluicegate.nodes._settings import Settings
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.nodes.model_governance import Account, governed
from sluicegate.policies.config import Duration
from sluicegate.services import Services
from sluicegate.state import Failure, FailureCause, State

__all__ = ["AttemptLimits", "Attempts", "Retry", "attempt"]

LONGEST_PAUSE_S = 60.0

pause = asyncio.sleep
"""What passes the time between two attempts."""

_CAUSES: dict[str, FailureCause] = {"SG303": "timeout", "SG304": "unavailable", "SG309": "unavailable"}


class Retry(Settings):
    """Whether a failed attempt is repeated."""

    times: int = Field(ge=1, le=10)
    """How often it is repeated at most."""
    causes: tuple[Literal["timeout", "unavailable", "error"], ...] = Field(("timeout", "unavailable"), min_length=1)
    """The causes that may pass: it took longer than its time limit or a model's; a model or a server is out of reach or
    overloaded; anything else."""
    backoff: Duration = 1.0
    """The pause before the first repetition; it doubles before each further one, up to a minute."""


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How a node may be tried."""

    timeout: float | None = None
    """The most seconds of one attempt."""
    retry: Retry | None = None


@dataclass(slots=True)
class Attempts:
    """What came of a visit."""

    update: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the node writes; after a failure what it spent, and the calls that failed."""
    count: int = 0
    failure: Failure | None = None
    error: Exception | None = None
    """What was raised by the last attempt; None for a failure that the node reports in what it writes."""


async def attempt(
    name: str,
    kind: NodeKind,
    node: Node,
    state: State,
    services: Services,
    limits: AttemptLimits,
) -> Attempts:
    """Run a node until it succeeds, fails for good or has used up its attempts.

    An error of the store, of a lock or of a broken declaration is raised at once: no other attempt and no other node
    can help there.
    """
    retry = limits.retry
    item = f"[{state['item']['index']}]" if "item" in state else ""
    account = Account(state, services, f"{name}#{state['run']['visits'].get(name, 1)}{item}")
    made, calls = Attempts(), list[Any]()
    while True:
        made.count += 1
        made.update, made.failure, made.error = {}, None, None
        limit = asyncio.timeout(limits.timeout)
        try:
            async with limit:
                made.update = await governed(node, state, services, account)
            made.failure = kind.failed(name, made.update) if kind.failed else None
        except GraphBubbleUp:  # how a node waits for a person
            raise
        except Exception as error:
            if isinstance(error, RunError) and not isinstance(error, NodeFailedError):
                raise
            made.error = _late(name, limits.timeout, error) if limit.expired() else error
            made.failure = _failure(name, made.error)
            made.update = dict(error.update) if isinstance(error, NodeFailedError) else {}
        calls += made.update.get("tool_calls", ())
        if (
            made.failure is None
            or retry is None
            or made.count > retry.times
            or made.failure["cause"] not in retry.causes
        ):
            break
        await pause(min(retry.backoff * 2 ** (made.count - 1), LONGEST_PAUSE_S))
    if made.error and account.touched:
        made.update = {"spend": account.spend}
    if calls:
        made.update = {**made.update, "tool_calls": calls}
    return made


def _late(name: str, timeout: float | None, error: Exception) -> Exception:
    late = NodeFailedError(f"{name} has no result within {timeout:g} s")
    late.__cause__ = error
    return late


def _failure(name: str, error: Exception) -> Failure:
    cause: FailureCause = "error"
    if isinstance(error, StoppedError):
        cause = "stopped"
    elif isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
        cause = "timeout"
    elif isinstance(error, UnreachableError | ConnectionError):
        cause = "unavailable"
    elif isinstance(error, ModelError):
        cause = _CAUSES.get(error.code, cause)
    if isinstance(error, SluicegateError):
        return {"node": name, "cause": cause, "code": error.code, "reason": error.message}
    return {"node": name, "cause": cause, "code": NodeFailedError.only, "reason": f"{type(error).__name__}: {error}"}
