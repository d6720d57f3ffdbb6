"""Output of `sluicegate router`: tables for the terminal, a page for the browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sluicegate.cli._support.console import console

__all__ = ["pairs", "rows_table", "write_page"]

PERCENT = frozenset(
    [
        "accuracy",
        "macro_f1",
        "coverage",
        "coverage_per_intent",
        "accepted_accuracy",
        "in_scope_accuracy",
        "oos_recall",
        "accepted_error_bound",
        "foreign",
        "novel",
        "novel_bound",
        "sent",
        "weak_accuracy",
        "strong_accuracy",
        "cpt50",
        "cpt80",
        "precision",
        "recall",
        "f1",
        "share",
        "before",
        "after",
        "bound",
        "error",
        "confidence",
    ]
)
ABSENT = {
    "threshold": "none proved",
    "novel_bound": "unlike requests are not told apart: fitted by 0.1, fit it again",
}
"""What to show for a figure that there is not."""


def pairs(title: str, values: Mapping[str, Any]) -> None:
    """Print one figure per line; lists and maps are left out."""
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in values.items():
        if not isinstance(value, list | dict):
            table.add_row(_words(name), shown(name, value))
    console().print(table)


def rows_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with the same keys as a table; nothing when there are none."""
    from rich.table import Table

    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        table.add_column(_words(name), justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*(shown(name, value) for name, value in row.items()))
    console().print(table)


def shown(name: str, value: Any) -> str:
    """A value for display: shares in percent, milliseconds with one decimal."""
    if value is None:
        return ABSENT.get(name, "-")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name == "threshold" and value > 1:
            return "none proved; nothing is accepted"
        if name in PERCENT:
            return f"{value:.1%}"
        return f"{value:.1f}" if "_ms_" in name else f"{value:.4f}"
    return str(value)


def write_page(path: Path, found: Mapping[str, Any], svgs: Sequence[str], *, title: str) -> None:
    """Write a report with its plots as an HTML page. Raises `OSError`."""
    from sluicegate.routing.monitoring.plots import page

    figures = {_words(k): shown(k, v) for k, v in found.items() if not isinstance(v, list | dict)}
    lists: dict[str, list[Any]] = {name: value for name, value in found.items() if isinstance(value, list)}
    tables = {name: rows for name, rows in lists.items() if rows and isinstance(rows[0], dict)}
    path.write_text(page(title, figures, tables, svgs), encoding="utf-8")


def _words(name: str) -> str:
    return name.replace("_", " ")
