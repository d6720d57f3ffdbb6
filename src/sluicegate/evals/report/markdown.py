"""An evaluation in GitHub's Markdown, as a comment on the change that it judges."""

import re
from collections.abc import Sequence

from sluicegate.evals.evaluation.summary import FIGURES, summarise
from sluicegate.evals.report.report import Report, before_note, estimate, notes_of, shown, wrong_rows

__all__ = ["markdown"]

_MOST = 20
"""Rows that are listed: a comment has 65,536 characters at most."""


def markdown(report: Report) -> str:
    """Thresholds first, then the figures with their 95 % intervals, and folded the rows that are not right."""
    failed, changes = report.failed_thresholds(), report.changes()
    lines = [f"### {_plain(report.workflow)} {_plain(report.version)}: {_verdict(report, missed=len(failed))}", ""]
    lines += [f"- {'❌' if each in failed else '✅'} `{each}`" for each in report.thresholds]
    head = ["figure", "value (95 % CI)", "rows", *(["before"] if changes else []), "meaning"]
    rows: list[list[str]] = []
    for name, found in summarise(report.own)["all"].items():
        before = [shown(name, changes[name].before) if name in changes else ""] if changes else []
        rows.append([f"`{name}`", estimate(name, found), str(found.n), *before, FIGURES[name].title])
    lines += ["", *_table(head, rows), ""]
    if changes:
        lines += [f"Before: {_plain(before_note(report))}", ""]
    if wrong := wrong_rows(report):
        listed = [[_plain(row.text[:120]), row.status, row.intent, row.path] for row in wrong[:_MOST]]
        more = f", of which {_MOST} are listed" if len(wrong) > _MOST else ""
        lines += [f"<details><summary>{len(wrong)} of {len(report.own)} rows are not right{more}</summary>", ""]
        lines += [*_table(["request", "status", "intent", "path"], listed), "", "</details>", ""]
    return "\n".join([*lines, *(f"> {_plain(note)}" for note in notes_of(report))]) + "\n"


def _verdict(report: Report, *, missed: int) -> str:
    if report.nothing_ran:
        return "every run failed"
    if not report.thresholds:
        return f"{len(report.own)} rows"
    return f"{missed} of {len(report.thresholds)} thresholds missed" if missed else "every threshold is held"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(each) + " |" for each in (head, ["---"] * len(head), *rows)]


def _plain(text: str) -> str:
    """Shown as it is: neither Markdown, nor HTML, nor a mention of somebody, nor the end of a cell or a line."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|@~$&])", r"\\\1", " ".join(text.split())).replace("\\@", "@\u2060")
