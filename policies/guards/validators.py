"""Guards as registered guardrails-ai validators.

Each kind of guard is one registered class, `sluicegate/<name>`. A validator runs its check within the guard's time
budget and never raises: a check that crashes or times out is a failed validation with code SG203. What the check found
is put into the call's `GuardCall`, which travels in the library's metadata; spans with text never enter the library.
"""

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.policies.guards.checking import Check, GuardKind, Subject, Verdict
from sluicegate.policies.guards.library import guardrails
from sluicegate.policies.guards.settings import GuardSettings

__all__ = ["GuardCall", "GuardResult", "failed_validators", "validator", "validator_name"]

INLINE_CHARS = 20_000
"""Longer texts get a thread even for quick checks, so that the event loop stays responsive."""

_classes: dict[str, Any] = {}
_registering = threading.Lock()


@dataclass(frozen=True, slots=True)
class GuardResult:
    """The result of one guard in one call."""

    verdict: Verdict
    ms: float
    broken: bool = False
    """The guard crashed or timed out."""


@dataclass(slots=True)
class GuardCall:
    """One call: the subject, the caller's context, and every guard's entry by the guard's name."""

    subject: Subject
    context: contextvars.Context
    entries: dict[str, GuardResult] = field(default_factory=dict[str, GuardResult])


def validator_name(guard: str) -> str:
    """The class name under which the library logs a guard's result."""
    return "Sluicegate" + "".join(part.capitalize() for part in guard.replace("_", "-").split("-"))


def validator(kind: GuardKind, settings: GuardSettings, check: Check) -> Any:
    """A validator for one configured guard; the library records its failure and takes no action."""
    with _registering:
        made = _classes.get(kind.name) or _classes.setdefault(kind.name, _register(kind.name))
    instance = made(on_fail="noop", use_local=True)
    instance.guard, instance.settings, instance.check = kind, settings, check
    return instance


async def failed_validators(validators: Sequence[Any], sheet: GuardCall) -> set[str]:
    """Run validators on the call's text; the class names of those that the library does not log as passed.

    This is what a library `Guard` does for a text that is there already, without what it does for one that a model is
    still to write: each of its calls makes a prompt of the schema, checks the string against a JSON schema and keeps a
    history, which takes ten times as long as validating. Those that wait for nothing get no task of their own.
    """
    guardrails()
    from guardrails.classes.history import Inputs, Iteration, Outputs
    from guardrails.validator_service import AsyncValidatorService

    service: Any = AsyncValidatorService()
    outputs = Outputs()
    iteration = Iteration(callId="", index=0, inputs=Inputs(), outputs=outputs)

    def run(one: Any) -> Awaitable[Any]:
        return service.run_validator(iteration, one, sheet.subject.text, {"sheet": sheet}, "$")

    waiting: list[Any] = []
    for one in validators:
        if inspect.iscoroutinefunction(one.check) or not _inline(one.guard, sheet):
            waiting.append(one)
        else:
            await run(one)
    await asyncio.gather(*map(run, waiting))
    logs: Sequence[Any] = outputs.validator_logs
    passed = {log.validator_name for log in logs if log.validation_result and log.validation_result.outcome == "pass"}
    return {type(one).__name__ for one in validators} - passed


def _register(name: str) -> Any:
    library = guardrails()
    from guardrails_ai.types import FailResult, PassResult

    async def async_validate(self: Any, value: str, metadata: dict[str, Any]) -> Any:
        sheet: GuardCall = metadata["sheet"]
        del value
        entry = await _entry(self.guard, self.settings, self.check, sheet)
        sheet.entries[name] = entry
        return PassResult() if entry.verdict.passed else FailResult(error_message=entry.verdict.reason or "failed")

    made: Any = type(validator_name(name), (library.Validator,), {"async_validate": async_validate})
    return library.register_validator(f"sluicegate/{name}", "string")(made)


def _inline(kind: GuardKind, sheet: GuardCall) -> bool:
    return kind.quick and len(sheet.subject.text) <= INLINE_CHARS


async def _entry(kind: GuardKind, settings: GuardSettings, check: Check, sheet: GuardCall) -> GuardResult:
    start = time.perf_counter()
    budget = settings.timeout_ms / 1000
    try:
        # in the caller's context, so that a review's model call lands in the caller's trace
        if _inline(kind, sheet):
            verdict = sheet.context.copy().run(check, sheet.subject)
        else:
            verdict = await asyncio.wait_for(_in_thread(lambda: check(sheet.subject), sheet.context.copy()), budget)
        if inspect.isawaitable(verdict):
            left = max(budget - (time.perf_counter() - start), 0.0)
            task = asyncio.get_running_loop().create_task(_await(verdict), context=sheet.context.copy())
            verdict = await asyncio.wait_for(task, left)
    except TimeoutError:
        return GuardResult(_broken(kind, f"timed out after {settings.timeout_ms} ms"), settings.timeout_ms, broken=True)
    except Exception as error:  # the guard's own fault, of any kind
        # the message may quote the text, the type never does
        return GuardResult(_broken(kind, type(error).__name__), (time.perf_counter() - start) * 1000, broken=True)
    ms = (time.perf_counter() - start) * 1000
    if not isinstance(verdict, Verdict):
        return GuardResult(_broken(kind, "it returned no verdict"), ms, broken=True)
    if ms > settings.timeout_ms:
        return GuardResult(_broken(kind, f"timed out after {settings.timeout_ms} ms"), ms, broken=True)
    return GuardResult(verdict, ms)


def _broken(kind: GuardKind, why: str) -> Verdict:
    return Verdict(passed=False, reason=f"SG203 guard {kind.name} failed to run: {why}")


async def _await(verdict: Awaitable[Verdict]) -> Verdict:
    return await verdict


async def _in_thread(work: Callable[[], Any], context: contextvars.Context) -> Any:
    """Like `asyncio.to_thread`, but a thread that never ends neither fills a pool nor keeps the process alive."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(set_it: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_it(value)

    def tell(set_it: Callable[[Any], None], value: Any) -> None:
        # the loop may be closed by the time a late check comes back
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, set_it, value)

    def run() -> None:
        try:
            result = context.run(work)
        except Exception as error:  # handed to the waiting side
            tell(done.set_exception, error)
        else:
            tell(done.set_result, result)

    threading.Thread(target=run, name="guard", daemon=True).start()
    return await done
