"""The workflow's guards, ready to run: what `services.guards` is.

The guards a node names are guardrails-ai validators, made once for each list of names and run side by side by the
library's validator service. A verdict is what the library logged for the validator together with what the validator
recorded; a guard without a record counts as failed. Redactions of several guards compose.
"""

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from sluicegate.errors import PolicyError, nearest
from sluicegate.policies.guards.checking import Admitted, Check, Finding, Helpers, Review, Subject, Verdict, nobody
from sluicegate.policies.guards.config import GuardConfig
from sluicegate.policies.guards.redaction import kind_of, placeholders_in, redact
from sluicegate.policies.guards.registry import guards
from sluicegate.policies.guards.settings import GuardSettings
from sluicegate.policies.guards.validators import GuardCall, GuardResult, failed_validators, validator, validator_name
from sluicegate.policies.guards.vault import MemoryVault
from sluicegate.services import GuardReport, Hidden, Vault
from sluicegate.state import CheckResult, GuardAction

__all__ = ["GRAVITY", "GuardSet", "Inspection", "gravest"]

GRAVITY: tuple[GuardAction, ...] = get_args(GuardAction)
"""Actions from the least to the most severe."""


def gravest(report: GuardReport) -> str:
    """The most severe action that a report's failed guards ask for; ``pass`` when none failed."""
    return max(
        (result["action"] for result in report.results if not result["passed"]), key=GRAVITY.index, default="pass"
    )


@dataclass(frozen=True, slots=True)
class Inspection:
    """A report with what must not go into the state."""

    report: GuardReport
    mapping: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """What each placeholder stands for; for `redaction.restore`, and only for a person who may see it."""
    findings: tuple[Finding, ...] = ()
    details: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """Each guard's scores, by its name."""


@dataclass(frozen=True, slots=True)
class _Ready:
    validators: list[Any]
    settings: dict[str, GuardSettings]


class GuardSet:
    """Implements `services.Guards` for one workflow.

    `review` is called by the guard `slm-review` and `admitted` says whether its model has passed the probe; `pipeline`
    says where the model that finds names is, `find` where a fitted artifact is. `vault` keeps what placeholders stand
    for; without one the process does.
    """

    def __init__(
        self,
        config: GuardConfig | None = None,
        *,
        review: Review | None = None,
        admitted: Admitted = nobody,
        pipeline: Callable[[str], str] = str,
        find: Callable[[str], Path] = Path,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault or MemoryVault()
        self._config = config or GuardConfig()
        self._helpers = Helpers(review, admitted, pipeline, find)
        self._checks: dict[str, Check] = {}
        self._ready: dict[tuple[str, ...], _Ready] = {}

    async def check(
        self,
        names: Sequence[str],
        text: str,
        *,
        stage: Literal["request", "retrieved", "output"],
        question: str = "",
        sources: Sequence[str] = (),
        citations: int = 0,
        run: str = "",
        person: str = "",
    ) -> GuardReport:
        """Run the named guards over `text`; see `services.Guards`.

        Raises `PolicyError` SG203 for an unknown name, `RunError` when what was redacted cannot be kept.
        """
        subject = Subject(text, stage, question, tuple(sources), citations)
        return (await self.inspect(names, subject, run=run, person=person)).report

    async def inspect(self, names: Sequence[str], subject: Subject, *, run: str = "", person: str = "") -> Inspection:
        """Like `check`, with the placeholders' meaning and the scores. Raises as `check` does."""
        ready = await self._built(tuple(dict.fromkeys(names)))
        sheet = GuardCall(subject, contextvars.copy_context())
        failed = await failed_validators(ready.validators, sheet)
        results: list[CheckResult] = []
        findings: list[Finding] = []
        credentials: set[str] = set()
        details: dict[str, dict[str, float]] = {}
        for name, settings in ready.settings.items():
            entry = sheet.entries.get(name) or _absent(name)
            passed = entry.verdict.passed and validator_name(name) not in failed
            action = "pass" if passed else _action(entry, settings)
            if action == "redact":
                findings += entry.verdict.findings
                if name == "secrets":
                    credentials |= {finding.label for finding in entry.verdict.findings}
            details[name] = entry.verdict.details
            results.append(
                {
                    "guard": name,
                    "passed": passed,
                    "action": action,
                    "reason": entry.verdict.reason,
                    "ms": round(entry.ms, 3),
                }
            )
        text, mapping = subject.text, dict[str, str]()
        if findings:
            text, mapping = await self._redacted(subject, findings, credentials, run, person)
        report = GuardReport(tuple(results), text, redacted=bool(mapping))
        return Inspection(report, mapping, tuple(findings), details)

    async def _redacted(
        self, subject: Subject, findings: Sequence[Finding], credentials: set[str], run: str, person: str
    ) -> tuple[str, dict[str, str]]:
        hidden: Mapping[str, Hidden] = await self._vault.hidden(run) if run else {}
        known = {placeholder: one.value for placeholder, one in hidden.items()}
        # what the request already contains was typed by somebody: it must never come to stand for a value
        text, mapping = redact(subject.text, findings, known, placeholders_in(subject.question) - known.keys())
        fresh = {
            placeholder: Hidden(value, kind, subject.stage, credential=kind in credentials)
            for placeholder, value in mapping.items()
            for kind in (kind_of(placeholder),)
            if placeholder not in known
        }
        if run and fresh:
            await self._vault.hide(run, person, fresh)
        return text, mapping

    async def _built(self, names: tuple[str, ...]) -> _Ready:
        ready = self._ready.get(names)
        if ready is None:
            # the first time this imports the library and may load a model: seconds, so not on the event loop
            ready = self._ready.setdefault(names, await asyncio.to_thread(self._build, names))
        return ready

    def _build(self, names: tuple[str, ...]) -> _Ready:
        kinds = guards()
        unknown = [name for name in names if name not in kinds]
        if unknown:
            near = nearest(unknown[0], kinds)
            suggestion = f"; did you mean {near!r}?" if near else ""
            raise PolicyError("SG203", f"unknown guard {unknown[0]!r}{suggestion}", hint=f"One of: {', '.join(kinds)}")
        settings = {name: self._config.settings(name, kinds[name].settings) for name in names}
        made: list[Any] = []
        for name in names:
            if name not in self._checks:
                self._checks[name] = kinds[name].make(settings[name], self._helpers)
            made.append(validator(kinds[name], settings[name], self._checks[name]))
        return _Ready(made, settings)


def _absent(name: str) -> GuardResult:
    return GuardResult(
        Verdict(passed=False, reason=f"SG203 guard {name} failed to run: it returned no result"), 0.0, broken=True
    )


def _action(entry: GuardResult, settings: GuardSettings) -> Any:
    action = entry.verdict.action or settings.action
    # without findings nothing can be redacted: the text must not pass as it is
    return "refuse" if action == "redact" and (entry.broken or not entry.verdict.findings) else action
