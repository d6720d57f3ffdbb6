"""A run as one self-contained HTML page: facts, graph with the path taken, decisions, observations, scores.

It loads nothing from outside and runs no script; the reader's light or dark theme decides its colours.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from sluicegate.observe.views.tree import Item, headline, money, short, span_tree, timing

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --good: #16803c; --bad: #c02626; --odd: #a16207; }
@media (prefers-color-scheme: dark) { :root { --good: #4ade80; --bad: #f87171; --odd: #facc15; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; } dt { opacity: .65; } dd { margin: 0; }
.graph { overflow-x: auto; } .graph svg { max-width: 100%; height: auto; }
details { margin-left: 1.2rem; } summary { cursor: pointer; } li { list-style: none; } ul { padding-left: 1.2rem; }
.bar { position: relative; height: 3px; background: var(--soft); margin: 1px 0 4px; }
.bar i { position: absolute; height: 100%; min-width: 2px; background: #3b82f6; }
.ms { opacity: .6; font-variant-numeric: tabular-nums; } .good { color: var(--good); } .bad { color: var(--bad); }
.odd { color: var(--odd); } .faint { opacity: .7; } code { font-size: .9em; }
pre { white-space: pre-wrap; background: var(--soft); padding: .5rem; }
.type { font-size: .75em; border: 1px solid var(--line); border-radius: 3px; padding: 0 .3em; }
"""


def page(
    run: Mapping[str, Any],
    spans: Sequence[Mapping[str, Any]],
    decisions: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    *,
    graph: str = "",
) -> str:
    """The page. `graph` is an SVG of the workflow's graph with the path taken; without it that part is left out."""
    title = f"{run['run_id']} · {headline(run)}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _facts(run),
        f'<h2>Graph</h2><div class="graph">{graph}</div>' if graph else "",
        _decisions(decisions),
        "<h2>Observations</h2>",
        *(_item(item, *_span_of(spans)) for item in span_tree(spans)),
        _scores(scores),
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n'


def _facts(run: Mapping[str, Any]) -> str:
    confidence = "" if run["confidence"] is None else f"{run['confidence']:.3f}"
    threshold = "" if run["threshold"] is None else f" against the threshold {run['threshold']:.3f}"
    waited = "" if run["waited_s"] is None else f"{timing(1000 * run['waited_s'])}, then: {run['approval']}"
    alone = "" if run["all_llm_usd"] is None else f", with only the large model  {money(run['all_llm_usd'])}"
    tokens = "" if run["prompt_tokens"] is None else f"{run['prompt_tokens']} + {run['completion_tokens']}"
    begun = f"{datetime.fromtimestamp(run['started_ns'] / 1e9).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    facts = {
        "request": run["request"],
        "answer": run["answer"],
        "error": run["error"],
        "intent": f"{run['intent']} ({run['classified_by']}), risk {run['risk']}" if run["intent"] else "",
        "confidence": confidence + threshold,
        "path": run["path"],
        "model": run["model"],
        "prompt": run["prompt"],
        "waited for a person": waited,
        "tokens": tokens,
        "cost": money(run["usd"]) + alone,
        "time": f"{timing(run['ms'])}, begun {begun}",
        "user, session": ", ".join(part for part in (run["user"], run["session"]) if part),
        "workflow digest": run["digest"],
        "environment, release": f"{run['environment']}, {run['release']}",
        "trace": run["trace_id"],
    }
    rows = (f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    return f"<dl>{''.join(rows)}</dl>"


def _decisions(decisions: Sequence[Mapping[str, Any]]) -> str:
    if not decisions:
        return ""
    rows = "".join(_decision(each) for each in decisions)
    head = "<tr><th>edge taken</th><th>condition</th><th>values</th><th>not taken</th></tr>"
    return f"<h2>Decisions</h2><table>{head}{rows}</table>"


def _decision(each: Mapping[str, Any]) -> str:
    values = ", ".join(f"{key} = {short(value)}" for key, value in each["values"].items())
    telling = any("confidence" in key or "threshold" in key for key in each["values"])
    if telling and each["threshold"] is not None and each["confidence"] is not None:
        values += f" · confidence {each['confidence']:.3f} against {each['threshold']:.3f}"
    cells = (
        f"{escape(each['node'])} → <b>{escape(each['taken'])}</b>",
        f"<code>{escape(each['condition'] or 'always')}</code>",
        escape(values.removeprefix(" · ")),
        escape(", ".join(each["not_taken"])),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _span_of(spans: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    return min(span["start_ns"] for span in spans), max(span["end_ns"] for span in spans)


def _item(item: Item, first_ns: int, last_ns: int) -> str:
    span, whole = item.span, max(1, last_ns - first_ns)
    left = 100 * (span["start_ns"] - first_ns) / whole
    width = 100 * (span["end_ns"] - span["start_ns"]) / whole
    words = f'<span class="{item.tone}">{escape(item.words)}</span>' if item.words else ""
    summary = (
        f'<span class="type">{escape(span["type"])}</span> <b>{escape(item.title)}</b> '
        f'<span class="ms">{timing(item.ms)}</span> {words}'
        f'<div class="bar"><i style="left:{left:.2f}%;width:{width:.2f}%"></i></div>'
    )
    said = escape(json.dumps(span["attributes"], indent=1, ensure_ascii=False, default=str))
    children = "".join(_item(child, first_ns, last_ns) for child in item.children)
    is_open = " open" if item.children else ""
    return (
        f"<details{is_open}><summary>{summary}</summary>"
        f"<details><summary>attributes</summary><pre>{said}</pre></details>{children}</details>"
    )


def _scores(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return ""
    rows = "".join(
        f"<tr><td>{escape(score['name'])}</td><td>{escape(str(score['value']))}</td>"
        f"<td>{escape(score['comment'])}</td><td>{escape(score['source'])}</td></tr>"
        for score in scores
    )
    return f"<h2>Scores</h2><table><tr><th>name</th><th>value</th><th>comment</th><th>from</th></tr>{rows}</table>"
