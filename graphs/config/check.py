"""Reports of `sluicegate check`: text with the offending lines, JSON and SARIF 2.1.0."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from sluicegate.errors import CODES, ConfigError, Place, Problem
from sluicegate.files import LINE_END, read_bounded
from sluicegate.graphs.conditions.regions import regions
from sluicegate.graphs.config.load import Workflow, inspect
from sluicegate.graphs.config.source import MAX_BYTES
from sluicegate.graphs.proofs import BUILT_IN, Semantics
from sluicegate.graphs.proofs.streaming import Streaming, streaming_by_intent
from sluicegate.graphs.proofs.told import ToldGuarantee, told
from sluicegate.nodes.kinds.answering import in_one_draft

__all__ = [
    "CheckReport",
    "as_json",
    "as_sarif",
    "as_text",
    "check",
    "exit_status",
    "told_guarantees",
    "workflow_files",
]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """One checked workflow file."""

    path: Path
    workflow: Workflow | None
    """None when it has errors."""
    problems: tuple[Problem, ...]
    """Errors and warnings, in file order."""

    @property
    def unreadable(self) -> bool:
        """The file itself could not be read."""
        return any(one.code == "SG101" and (one.place is None or one.place.file == str(self.path)) and _top(one.place)
                   for one in self.problems)  # fmt: skip

    def count(self, severity: str) -> int:
        return sum(problem.severity == severity for problem in self.problems)


def _top(place: Place | None) -> bool:
    return place is None or (place.line, place.column) == (1, 1)


def workflow_files(path: Path) -> list[Path]:
    """A file as it is; of a folder, every ``workflow.yaml`` in it, and the folder itself when there is none."""
    return sorted(path.rglob("workflow.yaml")) or [path] if path.is_dir() else [path]


def check(path: Path) -> CheckReport:
    """Load, validate and prove a workflow; never raises for what its files contain."""
    try:
        workflow, problems = inspect(path)
    except ConfigError as error:
        workflow, problems = None, list(error.problems)
    return CheckReport(path, workflow, tuple(problems))


def exit_status(reports: Iterable[CheckReport]) -> int:
    """Exit status. 0: all may start, 1: some may not, 2: a file could not be read."""
    reports = list(reports)
    if any(report.unreadable for report in reports):
        return 2
    return 1 if any(report.workflow is None for report in reports) else 0


_SHOWN = 100
"""How many problems are shown as text; a broken generator makes thousands."""


def told_guarantees(workflow: Workflow) -> list[ToldGuarantee]:
    """What became of each guarantee, its own ones first."""
    known = workflow.known
    return told(
        Semantics(workflow.flow, known, regions(known.conditions.values())), workflow.guarantees, workflow.waivers
    )


def as_text(report: CheckReport, *, streaming: bool = False, proofs: bool = False) -> Text:
    """The report for people: each problem with its line and a caret, and a closing line; `streaming` adds one for each
    node that writes in its own words, `proofs` one for each guarantee."""
    lines = _Lines()
    parts = [_problem(problem, lines) for problem in report.problems[:_SHOWN]]
    if len(report.problems) > _SHOWN:
        parts.append(Text(f"… and {len(report.problems) - _SHOWN:,} more; --format json shows all\n", "dim"))
    parts.append(_summary(report, streaming=streaming, proofs=proofs))
    return Text("\n").join(parts)


def _summary(report: CheckReport, *, streaming: bool, proofs: bool) -> Text:
    workflow, warnings = report.workflow, _counted(report.count("warning"), "warning")
    if workflow is None:
        errors = _counted(report.count("error"), "error")
        return Text.assemble(("✗ ", "bold red"), (str(report.path), "bold"), f": {errors}, {warnings}")
    said = [
        f"{workflow.name} {workflow.version}",
        _counted(len(workflow.flow.nodes), "node"),
        _counted(_branches(workflow), "branch", "branches"),
        _counted(len(workflow.conditions), "condition"),
        f"{_counted(_proved(workflow), 'guarantee')} proved",
        f"{len(workflow.waivers)} waived",
        warnings,
    ]
    text = Text.assemble(("✓ ", "bold green"), (str(report.path), "bold"), f": {', '.join(said)}")
    for waiver in workflow.waivers:
        text.append(f"\n  waived: {waiver.guarantee}, because {waiver.reason}", "yellow")
    for name, intents in _streaming(workflow).items() if streaming else ():
        text.append(f"\n  {_streams(name, intents)}")
    for one in told_guarantees(workflow) if proofs else ():
        text.append(f"\n  {one.state}: {one.guarantee}\n    {one.because}")
    return text


def _streaming(workflow: Workflow) -> dict[str, dict[str, Streaming]]:
    """Of each node that writes in its own words, by intent: whether its draft may be sent before it is whole."""
    writers = [name for name, settings in workflow.settings.items() if in_one_draft(settings)]

    def known(condition: str, facts: Mapping[str, object]) -> bool | None:
        return workflow.conditions[condition].known(facts)

    return {name: streaming_by_intent(workflow.flow, name, known) for name in writers}


def _streams(name: str, intents: Mapping[str, Streaming]) -> str:
    early = [intent for intent, one in intents.items() if not one.why_not]
    whys = "; ".join(dict.fromkeys(one.why_not for one in intents.values() if one.why_not))
    if not early:
        return f"{name} does not stream: {whys or 'no request comes to it'}"
    if not whys:
        return f"{name} streams, sentence by sentence"
    return f"{name} streams, sentence by sentence, for {', '.join(early)} only: otherwise {whys}"


def _counted(number: int, word: str, plural: str = "") -> str:
    return f"{number} {word}" if number == 1 else f"{number} {plural or word + 's'}"


def _branches(workflow: Workflow) -> int:
    return sum(len(node.ways) for node in workflow.flow.nodes.values())


def _proved(workflow: Workflow) -> int:
    return len(workflow.guarantees) + len(BUILT_IN) - len({waiver.guarantee for waiver in workflow.waivers})


class _Lines:
    """Lines of the files that problems point to."""

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = {}

    def at(self, place: Place) -> str | None:
        if place.file not in self._files:
            file = Path(place.file)
            try:
                # a link to another folder leads to what is none of the workflow's
                text = read_bounded(file, MAX_BYTES, within=[file.parent]).decode("utf-8-sig")
            except (OSError, ValueError):
                text = ""
            self._files[place.file] = LINE_END.split(text)
        lines = self._files[place.file]
        return lines[place.line - 1] if 0 < place.line <= len(lines) else None


def _problem(problem: Problem, lines: _Lines) -> Text:
    style = "red" if problem.severity == "error" else "yellow"
    where = f"{problem.place}: " if problem.place else ""
    text = Text.assemble(
        (where, "bold"), (f"{problem.severity} {problem.code} ", f"bold {style}"), problem.message, "\n"
    )
    line = lines.at(problem.place) if problem.place else None
    if problem.place and line and line.strip():
        text.append(_excerpt(line, problem.place, style))
    if problem.suggestion:
        text.append(f"    did you mean {problem.suggestion!r}?\n", "green")
    if problem.choices:
        text.append(f"    one of: {', '.join(problem.choices)}\n", "dim")
    if problem.hint:
        text.append(f"    {problem.hint}\n", "cyan")
    return text


_WIDTH = 100
_WORD = re.compile(r"[\w.@/-]+|'[^']*'|\"[^\"]*\"|\S")


def _excerpt(line: str, place: Place, style: str) -> Text:
    """The line with a caret under what is wrong, cut around it when it is long."""
    line = line.replace("\t", " ").rstrip()
    column = min(place.column - 1, len(line))
    start = max(0, column - _WIDTH // 2) if len(line) > _WIDTH else 0
    shown = ("…" if start else "") + line[start : start + _WIDTH] + ("…" if start + _WIDTH < len(line) else "")
    found = _WORD.match(line, column)
    length = min(len(found[0]) if found else 1, _WIDTH // 2)
    indent = " " * (column - start + bool(start))
    number, rule = f"{place.line:>6} ", ("│ ", "dim")
    return Text.assemble(
        (number, "dim"), rule, shown, "\n", " " * len(number), rule, indent, ("^" * length, style), "\n"
    )  # fmt: skip


def as_json(reports: Iterable[CheckReport]) -> dict[str, Any]:
    """The reports as one JSON document."""
    return {"workflows": [_json(report) for report in reports]}


def _json(report: CheckReport) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(report.path), "ok": report.workflow is not None}
    workflow = report.workflow
    if workflow is not None:
        found |= {
            "workflow": workflow.name,
            "version": workflow.version,
            "digest": workflow.digest,
            "nodes": len(workflow.flow.nodes),
            "branches": _branches(workflow),
            "conditions": len(workflow.conditions),
            "guarantees": _proved(workflow),
            "inputs": [asdict(one) for one in workflow.resolved.inputs],
            "streaming": {
                name: {intent: one.why_not or "by sentence" for intent, one in intents.items()}
                for name, intents in _streaming(workflow).items()
            },
            "proofs": [
                {"guarantee": str(each.guarantee), "state": each.state, "because": each.because}
                for each in told_guarantees(workflow)
            ],
            "waived": [{"guarantee": one.guarantee, "reason": one.reason} for one in workflow.waivers],
        }
    found["problems"] = [
        {
            "code": problem.code,
            "severity": problem.severity,
            "message": problem.message,
            "file": problem.place.file if problem.place else None,
            "line": problem.place.line if problem.place else None,
            "column": problem.place.column if problem.place else None,
            "choices": list(problem.choices),
            "suggestion": problem.suggestion,
            "hint": problem.hint,
        }
        for problem in report.problems
    ]
    return found


def as_sarif(reports: Sequence[CheckReport]) -> dict[str, Any]:
    """The reports as a SARIF 2.1.0 log, which code hosts show next to the lines."""
    problems = [problem for report in reports for problem in report.problems]
    codes = sorted({problem.code for problem in problems})
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "sluicegate",
                        "rules": [{"id": code, "shortDescription": {"text": CODES[code]}} for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(problem, codes) for problem in problems],
            }
        ],
    }


def _result(problem: Problem, codes: Sequence[str]) -> dict[str, Any]:
    details = [problem.message]
    if problem.suggestion:
        details.append(f"did you mean {problem.suggestion!r}?")
    if problem.choices:
        details.append(f"one of: {', '.join(problem.choices)}")
    if problem.hint:
        details.append(problem.hint)
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.severity,
        "message": {"text": ". ".join(details)},
    }
    if problem.place:
        location = {
            "artifactLocation": {"uri": Path(problem.place.file).as_posix()},
            "region": {"startLine": problem.place.line, "startColumn": problem.place.column},
        }
        result["locations"] = [{"physicalLocation": location}]
    return result
