"""Traces in the terminal: a table of runs and a tree of one run. Returns rich renderables; prints nothing."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sluicegate.observe.views.tree import Item, headline, money, span_tree, timing

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text
    from rich.tree import Tree

__all__ = ["run_view", "runs_table", "span_line", "usage_view"]

_STATUS = {"answered": "green", "refused": "yellow", "failed": "red", "waiting": "cyan", "running": "blue"}
_TONE = {"plain": "", "good": "green", "bad": "red", "odd": "yellow", "faint": "dim"}


def runs_table(runs: Sequence[Mapping[str, Any]]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    rows: list[dict[str, str | Text]] = [
        {
            "run": run["run_id"],
            "when": when(run["started_ns"]),
            "workflow": f"{run['workflow']}@{run['version']}",
            "status": Text(run["status"], _STATUS.get(run["status"], "")),
            "path": run["path"] or "",
            "intent": run["intent"] or "",
            "conf.": "" if run["confidence"] is None else f"{run['confidence']:.2f}",
            "time": timing(run["ms"]),
            "cost": money(run["usd"]),
            "request": Text(" ".join(run["request"].split())),
        }
        for run in runs
    ]
    # empty columns leave their space to the requests
    telling = {
        "workflow": len({(run["workflow"], run["version"]) for run in runs}) > 1,
        "cost": any(run["usd"] for run in runs),
    }
    shown = [name for name in rows[0] if telling.get(name, True)]
    table = Table(*shown, box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
    # the request alone is cut: an id must be whole to be used
    table.columns[0].min_width = max(len(run["run_id"]) for run in runs)
    table.columns[-1].ratio = 1
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def run_view(
    run: Mapping[str, Any], spans: Sequence[Mapping[str, Any]], scores: Sequence[Mapping[str, Any]]
) -> "RenderableType":
    """A run: its headline, request and answer, the tree of its observations, its scores."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [
        Text.assemble((run["run_id"], "bold"), "  ", (headline(run), _STATUS.get(run["status"], ""))),
        _fact("request", run["request"]),
    ]
    for label, value in (
        ("answer", run["answer"]), ("withheld", run.get("withheld")), ("model", run["model"]), ("error", run["error"]),
    ):  # fmt: skip
        if value:
            lines.append(_fact(label, value))
    if run["waited_s"] is not None:
        lines.append(_fact("waited", f"{timing(1000 * run['waited_s'])} for a person, decision: {run['approval']}"))
    if run["usd"] is not None:
        alone = "" if run["all_llm_usd"] is None else f"; with only the large model  {money(run['all_llm_usd'])}"
        lines.append(_fact("cost", f"{money(run['usd'])}{alone}"))
    lines.append(_fact("trace", run["trace_id"]))
    lines += [_tree(item) for item in span_tree(spans)]
    if scores:
        lines.append(_fact("scores", " · ".join(f"{score['name']} {_value(score['value'])}" for score in scores)))
    return Group(*lines)


def span_line(run_id: str, span: Mapping[str, Any]) -> "Text":
    """One observation in one line, for following live."""
    from rich.text import Text

    [item] = span_tree([span])
    return Text.assemble((when(span["end_ns"], precise=True), "dim"), " ", (run_id[-8:], "cyan"), " ", _line(item))


def usage_view(usage: Mapping[str, Any]) -> "RenderableType":
    """Share per path, then what was spent and what was saved."""
    from rich.console import Group
    from rich.table import Table

    table = Table("path", "runs", "share", "cost", "mean time", box=None)
    for path, row in usage["paths"].items():
        table.add_row(path, str(row["runs"]), f"{row['share']:.0%}", money(row["usd"]), timing(row["mean_ms"]))
    against = f"; with only the large model  {money(usage['all_llm_usd'])}" if usage["all_llm_usd"] is not None else ""
    total = (
        f"{usage['runs']} runs, {usage['llm_calls_avoided']} answered without the large model, "
        f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens, {money(usage['usd'])}{against}"
    )
    return Group(table, total)


def when(at_ns: int, *, precise: bool = False) -> str:
    """Local time, to the second or the millisecond."""
    at = datetime.fromtimestamp(at_ns / 1e9).astimezone()
    return at.strftime("%H:%M:%S.%f")[:-3] if precise else at.strftime("%m-%d %H:%M:%S")


def _tree(item: Item) -> "Tree":
    from rich.tree import Tree

    tree = Tree(_line(item), guide_style="dim")

    def grow(tree: "Tree", children: Sequence[Item]) -> None:
        for child in children:
            grow(tree.add(_line(child)), child.children)

    grow(tree, item.children)
    return tree


def _line(item: Item) -> "Text":
    from rich.text import Text

    is_event = item.span["type"] == "event"
    title = (item.title, "dim" if is_event else "bold")
    took = "" if is_event else f"  {timing(item.ms)}"
    return Text.assemble(title, (took, "cyan"), ("  " + item.words if item.words else "", _TONE[item.tone]))


def _fact(label: str, value: str) -> "Text":
    from rich.text import Text

    return Text.assemble((f"{label:>8}  ", "dim"), " ".join(value.split())[:400])


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
