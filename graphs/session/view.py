"""Display of sessions: HTML with inline SVG in a notebook, text elsewhere.

The HTML is self-contained: no script, nothing from outside. Its colours come from the page it is put in, so that it
reads well on light and dark ground. Every text of a run is escaped, since anybody may have written it.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, cast

from sluicegate.graphs.picture.annotations import branch_values, node_notes, short
from sluicegate.graphs.picture.picture import svg
from sluicegate.graphs.session.differences import Difference, differences, facts_differ
from sluicegate.graphs.session.items import ListItem
from sluicegate.run_summary import RunSummary, compared
from sluicegate.state import Branch, State, TrailEntry

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.graphs.runtime.waiting.approvals import Waiting

__all__ = [
    "Comparison",
    "Items",
    "StateView",
    "Step",
    "Trail",
    "plain",
    "session_html",
    "session_svg",
    "session_text",
    "values_of",
]

_STYLE = (
    ".sgv{font:13px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;color:inherit;max-width:100%;text-align:left}"
    ".sgv table{font:inherit;border-collapse:collapse;margin:.3em 0;color:inherit;background:none;"
    "width:auto;max-width:100%}"
    ".sgv th,.sgv td{text-align:left!important;vertical-align:top;padding:.25em .9em .25em .4em;background:none;"
    "border:0;border-bottom:1px solid #8883;white-space:pre-wrap;overflow-wrap:break-word;max-width:56em;color:inherit}"
    ".sgv td:first-child{white-space:nowrap}.sgv th{font-weight:600;white-space:nowrap}"
    ".sgv thead th{opacity:.65;font-weight:500}"
    ".sgv tr.sgv-head th{padding-top:.8em;border-bottom:2px solid #8885}"
    ".sgv code{font:12px ui-monospace,Menlo,Consolas,monospace;background:#8882;border-radius:3px;padding:.05em .3em;"
    "color:inherit}"
    ".sgv .soft{opacity:.6}.sgv del{opacity:.55}.sgv .new{background:#22c55e2b;border-radius:3px;padding:0 .2em}"
    ".sgv .chip{display:inline-block;border-radius:9px;padding:0 .7em;margin-right:.5em;background:#8883;"
    "font-weight:600}"
    ".sgv .answered{background:#16a34a44}.sgv .waiting{background:#f59e0b4d}.sgv .refused{background:#dc262644}"
    ".sgv .running{background:#3b82f644}.sgv .line{margin:.25em 0}.sgv svg{max-width:100%;height:auto;display:block}"
    ".sgv .bar{display:inline-block;height:.6em;background:#3b82f6;border-radius:2px;margin-right:.5em}"
)


class StateView(dict[str, Any]):
    """A state: a dictionary displayed as a table, group by group."""

    def __init__(self, state: State) -> None:
        super().__init__(state)

    def _repr_html_(self) -> str:
        rows: list[str] = []
        for concern, value in self.items():
            if concern == "trail" or (concern in ("branches", "reserved") and not value):
                continue
            rows.append(f'<tr class="sgv-head"><th colspan="2">{escape(concern)}</th></tr>')
            fields = cast("Mapping[str, Any]", value if isinstance(value, Mapping) else {"": value})
            rows += [f"<tr><td>{escape(str(name))}</td><td>{_value(one)}</td></tr>" for name, one in fields.items()]
        return _page(f"<table>{''.join(rows)}</table>")


class Trail(list[TrailEntry]):
    """The decisions of a run: a list displayed as a table."""

    def _repr_html_(self) -> str:
        return _page(
            _table(
                ("node", "kind", "ms", "then", "because", "values", "passed over"),
                [
                    (
                        f"<b>{escape(entry['node'])}</b>" + (f" ({entry['visit']})" if entry["visit"] > 1 else ""),
                        escape(entry["kind"]),
                        f"{entry['ms']:.1f}",
                        escape(entry["branch"]["to"] or "end"),
                        _because(entry["branch"]),
                        escape(values_of(entry["branch"])),
                        escape(", ".join(entry["branch"]["skipped"])),
                    )
                    for entry in self
                ],
            )
        )

    def __repr__(self) -> str:
        return "\n".join(f"{entry['node']:<14}{_onward(entry['branch'])}" for entry in self) or "no decision yet"


class Items(list[ListItem]):
    """The items of a run's lists, displayed as a table."""

    def _repr_html_(self) -> str:
        rows = [
            (
                escape(f"{one.node} {one.index}"),
                f'<span class="chip {_ITEM_CHIPS[one.status]}">{one.status}</span>{escape(one.reason)}',
                escape(" → ".join(one.way)),
                _value(one.value),
            )
            for one in self
        ]
        return _page(_table(("item", "status", "way", "value"), rows))

    def __repr__(self) -> str:
        lines = (
            f"{one.node} {one.index:<4}{one.status:<8}{' → '.join(one.way)} {one.reason or plain(one.value)}".rstrip()
            for one in self
        )
        return "\n".join(lines) or "no items"


_ITEM_CHIPS = {"done": "answered", "failed": "refused", "to do": "waiting"}


class Step:
    """What one step changed, and the branch it took."""

    def __init__(self, before: State, after: State, *, waiting: "Waiting | None") -> None:
        old, new = before.get("trail", []), after.get("trail", [])
        self.entry: TrailEntry | None = new[-1] if len(new) > len(old) else None
        """The trail's new entry; None when the step stopped at a person, or there was none."""
        self.changes: list[Difference] = differences(before, after)
        self.waiting = waiting

    @property
    def node(self) -> str | None:
        return self.entry["node"] if self.entry else self.waiting["node"] if self.waiting else None

    @property
    def branch(self) -> Branch | None:
        return self.entry["branch"] if self.entry else None

    def __getitem__(self, field: str) -> Difference:
        """The change of one field, such as ``intent.label``. Raises `KeyError` when it did not change."""
        for change in self.changes:
            if change.field == field:
                return change
        raise KeyError(field)

    def __contains__(self, field: str) -> bool:
        return any(change.field == field for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        return {
            "node": self.node,
            "kind": self.entry["kind"] if self.entry else None,
            "visit": self.entry["visit"] if self.entry else None,
            "ms": self.entry["ms"] if self.entry else None,
            "branch": self.branch,
            "changes": {change.field: {"before": change.before, "after": change.after} for change in self.changes},
            "waiting": self.waiting,
        }

    def _repr_html_(self) -> str:
        parts: list[str] = []
        if self.entry:
            parts.append(
                f'<div class="line"><span class="chip">{escape(self.entry["node"])}</span>'
                f'<span class="soft">{escape(self.entry["kind"])} · {self.entry["ms"]:.1f} ms</span></div>'
            )
        if self.changes:
            rows = [(escape(one.field), _was(one.before), _became(one.after)) for one in self.changes]
            parts.append(_table(("field", "before", "after"), rows))
        elif not self.waiting:
            parts.append('<div class="line soft">nothing changed</div>')
        if self.branch and self.branch["to"]:
            values = escape(values_of(self.branch))
            parts.append(
                f'<div class="line">→ <b>{escape(self.branch["to"])}</b> {_because(self.branch)} '
                f'<span class="soft">{values}</span></div>'
            )
        if self.waiting:
            parts.append(_asks(self.waiting))
        return _page("".join(parts))

    def __repr__(self) -> str:
        lines = [f"{self.entry['node']} ({self.entry['kind']}, {self.entry['ms']:.1f} ms)"] if self.entry else []
        lines += [f"  {one.field}: {plain(one.before)} → {plain(one.after)}" for one in self.changes]
        if self.branch:
            lines.append(f"  {_onward(self.branch)}")
        if self.waiting:
            lines.append(f"  waits at {self.waiting['node']} for {self.waiting['approvers']}: {self.waiting['reason']}")
        return "\n".join(lines) or "nothing changed"


class Comparison:
    """Two runs side by side; `changes` are the facts that differ."""

    def __init__(self, run: str, before: Mapping[str, Any], other: str, after: Mapping[str, Any]) -> None:
        self.run, self.before, self.other, self.after = run, dict(before), other, dict(after)
        self.changes = facts_differ(before, after)

    def _repr_html_(self) -> str:
        changed = {change.field for change in self.changes}
        rows = [
            (
                f"<b>{escape(name)}</b>" if name in changed else f'<span class="soft">{escape(name)}</span>',
                _value(self.before[name]),
                f'<span class="new">{_value(self.after.get(name))}</span>'
                if name in changed
                else _value(self.after.get(name)),
            )
            for name in self.before
        ]
        return _page(_table(("", f"run …{self.run[-6:]}", f"run …{self.other[-6:]}"), rows))

    def __repr__(self) -> str:
        lines = [f"{one.field}: {plain(one.before)} → {plain(one.after)}" for one in self.changes]
        return "\n".join(lines) or "identical"


def session_svg(workflow: "Workflow", state: State, node: str | None, *, waiting: "Waiting | None") -> str:
    flow = workflow.flow
    notes = node_notes(state, {name: one.effects for name, one in flow.nodes.items()})
    if waiting:
        notes[waiting["node"]] = f"waits for {waiting['approvers']}"
    way = state.get("trail", [])
    title = f"{workflow.name}, version {workflow.version}"
    return svg(flow, title=title, taken=way, current=node, notes=notes, values=branch_values(state))


def session_html(workflow: "Workflow", state: State, node: str | None, *, waiting: "Waiting | None") -> str:
    summary = RunSummary.of(state, status="waiting" if waiting else None)
    status, path = summary.status, None if waiting else summary.path
    cost = f"${summary.usd:.5f} · {summary.tokens} tokens · {summary.nodes_ms / 1000:.2f} s"
    where = f"next: <b>{escape(node)}</b>" if node and not waiting else f"path <b>{escape(path)}</b>" if path else ""
    about = f'<span class="chip {status}">{status}</span>{where} <span class="soft">{cost} · run {summary.run}</span>'
    lines = [
        f'<div class="line">{about}</div>',
        f'<div class="line">“{escape(_cut(summary.request, 300))}”</div>',
    ]
    if summary.intent:
        lines.append(_probabilities(state))
    lines.append(session_svg(workflow, state, node, waiting=waiting))
    if waiting:
        lines.append(_asks(waiting))
    elif summary.answer is not None:
        lines.append(f'<div class="line"><b>answer</b> {escape(_cut(summary.answer, 2000))}</div>')
    return _page("".join(lines))


def session_text(workflow: "Workflow", state: State, node: str | None, *, waiting: "Waiting | None") -> str:
    summary = RunSummary.of(state, status="waiting" if waiting else None)
    way = " → ".join(summary.way) or "not started"
    return f"<Session {workflow.name} {summary.run} {summary.status}: {way}{f' → ({node})' if node else ''}>"


def _probabilities(state: State) -> str:
    """The most likely labels as bars, with the threshold."""
    intent = state.get("intent")
    assert intent is not None
    threshold = state.get("route", {}).get("threshold")
    bars = "".join(
        f"<tr><td>{escape(one['label'])}</td><td>"
        f'<span class="bar" style="width:{140 * one["confidence"]:.0f}px"></span>{one["confidence"]:.3f}</td></tr>'
        for one in intent["alternatives"]
    )
    sure = compared(intent["confidence"], threshold) if threshold is not None else f"{intent['confidence']:.2f}"
    return (
        f'<div class="line"><b>{escape(intent["label"])}</b> {escape(sure)} '
        f'<span class="soft">· {intent["risk"]} risk · {escape(intent["task"])} · by {escape(intent["by"])}</span>'
        f"</div><table>{bars}</table>"
    )


def _asks(waiting: "Waiting") -> str:
    if waiting["waits_for"] != "approval":
        return _asks_nobody_else(waiting)
    proposal = json.dumps(waiting["proposal"], ensure_ascii=False) if waiting["proposal"] else ""
    documents = waiting["documents"]
    rows = [
        ("asks", escape(waiting["approvers"])),
        ("because", escape(waiting["reason"])),
        ("until", escape(waiting["deadline"][:16].replace("T", " ") + " UTC")),
        ("draft", escape(_cut(waiting["draft"], 2000))),
        ("would call", escape(proposal)),
        (
            "evidence",
            escape(", ".join(f"{one['title']} ({one['id']}@{one['version']})" for one in documents)),
        ),
    ]
    return (
        '<div class="line"><span class="chip waiting">waits for a person</span>'
        '<span class="soft">approve(as_=…, role=…), reject(…) or '
        f"edit_{'arguments' if waiting['edits'] == 'arguments' else 'draft'}(…)</span></div>"
        + _table((), [row for row in rows if row[1]])
    )


def _asks_nobody_else(waiting: "Waiting") -> str:
    """What a run asks its requester, or until when it waits."""
    deadline = escape(waiting["deadline"][:16].replace("T", " ") + " UTC")
    if waiting["waits_for"] == "time":
        return f'<div class="line"><span class="chip waiting">waits until {deadline}</span></div>'
    return (
        f'<div class="line"><span class="chip waiting">asks {escape(waiting["principal"])}</span>'
        f'{escape(waiting["reason"])} <span class="soft">answer(TEXT, as_=…) until {deadline}</span></div>'
    )


def _because(branch: Branch) -> str:
    condition, reason = branch["condition"], branch["reason"]
    if condition and reason == f"{condition} held":
        return f"<code>{escape(condition)}</code>"
    return escape(reason)


def _onward(branch: Branch) -> str:
    seen = values_of(branch)
    return f"→ {branch['to'] or 'end'}  ({branch['reason']}{'; ' + seen if seen else ''})"


def values_of(branch: Branch) -> str:
    """The values that the conditions of a branch read."""
    return ", ".join(f"{name} = {short(value)}" for name, value in branch["values"].items())


def _was(value: Any) -> str:
    return "" if value is None else f"<del>{_value(value)}</del>"


def _became(value: Any) -> str:
    return '<span class="soft">gone</span>' if value is None else f'<span class="new">{_value(value)}</span>'


def _value(value: Any) -> str:
    return escape(plain(value, 600))


def plain(value: Any, limit: int = 120) -> str:
    """A value for people, in a few lines at most."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if value is None or isinstance(value, (bool, int)):
        return "–" if value is None else str(value).lower()
    if isinstance(value, str):
        return _cut(value, limit)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value)
        return _cut(", ".join(f"{key}: {plain(one, 60)}" for key, one in pairs.items()), limit)
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        return _cut(("\n" if any(isinstance(one, Mapping) for one in items) else ", ").join(map(_item, items)), limit)
    return _cut(str(value), limit)


def _item(value: Any) -> str:
    """One item of a list, by its identifying keys."""
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        for head, more in (("title", "score"), ("label", "confidence"), ("guard", "action"), ("tool", "status")):
            if head in named:
                return f"{named[head]} ({plain(named.get(more))})"
    return plain(value, 200)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; no head for no names."""
    top = f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead>" if head else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{top}<tbody>{body}</tbody></table>"


def _page(inner: str) -> str:
    return f'<div class="sgv"><style>{_STYLE}</style>{inner}</div>'
