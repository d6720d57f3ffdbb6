"""An event in the form that its destination reads: ours, Slack's blocks, or an adaptive card of Teams."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sluicegate.serving.webhooks.events import VERSION

__all__ = ["body_of"]

_LONGEST = 2000
"""Characters of one text; Slack takes 3000 in a block."""


def body_of(shape: str, kind: str, at: str, data: Mapping[str, Any]) -> bytes:
    return json.dumps(_SHAPES[shape](kind, at, data), ensure_ascii=False, separators=(",", ":")).encode()


def _plain(kind: str, at: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "version": VERSION, "timestamp": at, "data": data}


def _slack(kind: str, at: str, data: Mapping[str, Any]) -> dict[str, Any]:
    title, facts, link = _title(kind, data), _facts(data), data.get("link")
    fields = [{"type": "mrkdwn", "text": f"*{name}*\n{_escaped(value)}"} for name, value in facts.items()]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:150]}},
        *({"type": "section", "fields": fields[start : start + 10]} for start in range(0, len(fields), 10)),
        *(
            {"type": "section", "text": {"type": "mrkdwn", "text": f"*{name}*\n{_escaped(text)}"}}
            for name, text in _words(data).items()
        ),
    ]
    if link:
        button = {"type": "button", "text": {"type": "plain_text", "text": "Look and decide"}, "url": link["url"]}
        blocks.append({"type": "actions", "elements": [button]})
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": f"{kind} · {at}"}]})
    # what notifications show
    return {"text": _escaped(title), "blocks": blocks}


def _teams(kind: str, at: str, data: Mapping[str, Any]) -> dict[str, Any]:
    link = data.get("link")
    facts = {**_facts(data), "event": f"{kind}, {at}"}
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [
            {"type": "TextBlock", "text": _unformatted(_title(kind, data)), "weight": "Bolder", "wrap": True},
            {
                "type": "FactSet",
                "facts": [{"title": name, "value": _unformatted(each)} for name, each in facts.items()],
            },
            *(
                {"type": "TextBlock", "text": f"{name}: {_unformatted(text)}", "wrap": True}
                for name, text in _words(data).items()
            ),
        ],
    }
    if link:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Look and decide", "url": link["url"]}]
    attached = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attached]}


_SHAPES: dict[str, Callable[[str, str, Mapping[str, Any]], dict[str, Any]]] = {
    "json": _plain,
    "slack": _slack,
    "teams": _teams,
}


def _title(kind: str, data: Mapping[str, Any]) -> str:
    match kind:
        case "approval.waiting":
            return f"A request to {data['workflow']} waits for {data['approvers']}"
        case "approval.decided":
            return f"A request to {data['workflow']}: {data['verdict']}"
        case "budget.80" | "budget.100":
            what = "80 % of {} is spent" if kind == "budget.80" else "{} is used up"
            return f"{data['workflow']}: {what.format(data['cap'])}"
        case "incident.opened":
            return f"Incident in {data['system']}: {data['kind']} ({data['severity']})"
        case _:
            return "A test of this webhook"


_SHOWN = (
    *("run", "intent", "risk", "requester", "verdict", "by", "deadline", "of", "period", "limit", "spent", "unit"),
    *("id", "source", "description", "message"),
)


def _facts(data: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(data[name])[:_LONGEST] for name in _SHOWN if data.get(name) not in (None, "")}


def _words(data: Mapping[str, Any]) -> dict[str, str]:
    texts: Mapping[str, str] = data.get("texts") or {}
    return {name: text[:_LONGEST] for name, text in texts.items() if text}


def _escaped(text: str) -> str:
    """Slack reads `<…>` as links and mentions, and these three alone as entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _unformatted(text: str) -> str:
    """Cards read links and emphasis out of Markdown; a request may not put its own in."""
    return "".join(f"\\{each}" if each in r"\[]()*_`#~<>" else each for each in text)
