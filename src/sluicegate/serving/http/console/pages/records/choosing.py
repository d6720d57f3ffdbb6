"""Which runs are asked for: the fields of the form above the list, as an address has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import urlencode

from sluicegate import state
from sluicegate.observe.tracing.reading.filters import RunFilter
from sluicegate.run_summary import Status
from sluicegate.serving.records.runs import RunRecords
from sluicegate.serving.service import Service

__all__ = ["FIELDS", "RunChoice", "chosen_by", "offered"]

FIELDS = ("workflow", "status", "path", "intent", "risk", "person", "from", "to", "usd_from", "usd_to", "run")
_LONGEST = 200
"""Characters of one field."""


@dataclass(frozen=True, slots=True)
class RunChoice:
    which: RunFilter
    typed: Mapping[str, str]
    """Every field, as it was typed."""
    wrong: Mapping[str, str]
    """What is wrong with a field, which then does not filter."""

    def address(self, path: str, **more: str) -> str:
        """An address with these fields, those that are empty left out."""
        query = {name: value for name, value in {**self.typed, **more}.items() if value}
        return f"{path}?{urlencode(query)}" if query else path

    @property
    def any(self) -> bool:
        return any(self.typed.values())


def chosen_by(query: Mapping[str, str], records: RunRecords) -> RunChoice:
    typed = {name: query.get(name, "").strip()[:_LONGEST] for name in FIELDS}
    which, wrong = RunFilter(), dict[str, str]()
    for name, read in _READ.items():
        if not typed[name]:
            continue
        try:
            which = read(which, typed[name])
        except ValueError as error:
            wrong[name] = str(error)
    if typed["person"]:
        which = replace(which, users=records.names(typed["person"]))
    return RunChoice(which, typed, wrong)


def offered(services: list[Service]) -> dict[str, list[str]]:
    """What there is to choose from, by field."""
    configs = [service.versions.serving.workflow.config for service in services]
    return {
        "workflow": [service.name for service in services],
        "status": [*get_args(Status)],
        "path": [*get_args(state.Path)],
        "intent": sorted({label for config in configs for label in config.intents}),
        "risk": [*get_args(state.Risk)],
    }


def _time(text: str) -> int:
    """Nanoseconds of a time in UTC, as a browser's field writes it."""
    try:
        at = datetime.fromisoformat(text)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 10**9
    except (ValueError, OverflowError):
        raise ValueError("A time is written like 2026-11-27T08:00") from None


def _usd(text: str) -> float:
    try:
        usd = float(text)
    except ValueError:
        usd = -1.0
    if not 0 <= usd < 1e9:
        raise ValueError("An amount is a number of dollars, such as 0.05")
    return usd


def _plain(name: str) -> Callable[[RunFilter, str], RunFilter]:
    return lambda which, text: replace(which, **{name: text})


_READ: Mapping[str, Callable[[RunFilter, str], RunFilter]] = {
    **{name: _plain(name) for name in ("workflow", "status", "path", "intent", "risk")},
    "from": lambda which, text: replace(which, since_ns=_time(text)),
    "to": lambda which, text: replace(which, until_ns=_time(text)),
    "usd_from": lambda which, text: replace(which, usd_from=_usd(text)),
    "usd_to": lambda which, text: replace(which, usd_to=_usd(text)),
    "run": lambda which, text: replace(which, id_prefix=text),
}
