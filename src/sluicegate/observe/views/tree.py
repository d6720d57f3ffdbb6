"""A run's observations as a tree, with one line of text for each: shown by both the terminal and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

__all__ = ["Item", "headline", "money", "short", "span_tree", "timing"]

Tone = Literal["plain", "good", "bad", "odd", "faint"]


@dataclass(slots=True)
class Item:
    span: Mapping[str, Any]
    title: str
    words: str
    """What happened, without the title and the timing."""
    tone: Tone
    ms: float
    children: list["Item"] = field(default_factory=list["Item"])


def span_tree(spans: Sequence[Mapping[str, Any]]) -> list[Item]:
    """The roots, each with its children in the order they began.

    An observation whose parent was never written, because the process was killed or is still running, is a root.
    """
    items = {span["span_id"]: _item(span) for span in spans}
    roots: list[Item] = []
    for span in spans:
        parent = items.get(span["parent"])
        (parent.children if parent else roots).append(items[span["span_id"]])
    return roots


def timing(ms: float) -> str:
    if ms < 1:
        return f"{ms * 1000:.0f} µs"
    if ms < 1000:
        return f"{ms:.0f} ms"
    minutes = round(ms / 60_000)
    if minutes < 2:
        return f"{ms / 1000:.2f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def money(usd: float | None) -> str:
    if usd is None:
        return "–"
    return f"${usd:.4f}" if usd else "$0"


def headline(run: Mapping[str, Any]) -> str:
    """A run in one line: workflow, status, path, intent with confidence, time and cost."""
    parts = [f"{run['workflow']} v{run['version']}", run["status"]]
    if run["path"]:
        parts.append(run["path"])
    if run["intent"]:
        parts.append(f"{run['intent']} {_confidence(run)}")
    parts += [timing(run["ms"]), money(run["usd"])]
    return " · ".join(parts)


def _item(span: Mapping[str, Any]) -> Item:
    said: dict[str, Any] = span["attributes"]
    title = span["name"]
    words, tone = _words(span["type"], said)
    if span["level"] == "ERROR":
        words, tone = f"{words} · failed: {span['message']}" if words else f"failed: {span['message']}", "bad"
    elif span["level"] == "WARNING":
        words, tone = f"{words} · {span['message']}".removeprefix(" · "), "odd"
    elif said.get("interrupted"):
        words, tone = f"{words} · waits for a person".removeprefix(" · "), "odd"
    return Item(span, title, words, tone, (span["end_ns"] - span["start_ns"]) / 1e6)


def _words(type: str, said: Mapping[str, Any]) -> tuple[str, Tone]:
    if "to" in said and "condition" in said:
        return _branch(said), "plain"
    if "node" in said:
        return _node(said)
    if type == "generation":
        return _generation(said), "odd" if said.get("fallback") or said.get("usage") == "bound" else "plain"
    if type == "embedding":
        count = said.get("texts", "?")
        by = said.get("model") or said.get("asked", "?")
        return f"{count} {'text' if count == 1 else 'texts'} by {by}", "faint"
    if type == "retriever":
        return f"{_documents(said)} of {said.get('index', '?')} for {_quoted(said.get('query', ''))}", "plain"
    if "verdicts" in said:
        return _checks(said)
    if "verdict" in said:
        rules = ", ".join(said.get("rules", [])) or "no rule"
        reason = f": {said['reason']}" if said.get("reason") else ""
        return f"{said['verdict']} by {rules}{reason}", "good" if said["verdict"] == "allow" else "bad"
    if type == "tool":
        repeated = " (repeated: the first call's result)" if said.get("repeated") else ""
        return f"{said.get('status', '?')}{repeated} · key {said.get('key', '?')}", "plain"
    return _other(said)


def _branch(said: Mapping[str, Any]) -> str:
    condition = said["condition"] or "always"
    values = ", ".join(f"{key} = {short(value)}" for key, value in said.get("values", {}).items())
    text = f"{condition}" + (f"  [{values}]" if values else "")
    if "threshold" in said and "confidence" in said and ("confidence" in text or "threshold" in text):
        text += f" · confidence {said['confidence']:.2f} against {said['threshold']:.2f}"
    if said.get("not_taken"):
        text += f" · not taken: {', '.join(said['not_taken'])}"
    return text


def _node(said: Mapping[str, Any]) -> tuple[str, Tone]:
    parts: list[str] = [said["kind"]]
    if said.get("visit", 1) > 1:
        parts.append(f"visit {said['visit']}")
    if "item" in said:
        parts.append(f"item {said['item']}")
    if intent := said.get("intent"):
        parts.append(f"{intent['label']} {_confidence(said)}, risk {intent['risk']}")
    elif "output" in said:
        parts.append(_quoted(said["output"]))
    if "tagged" in said:
        parts.append(_tagged(said))
    if cache := said.get("cache"):
        parts.append("hit" if cache["hit"] else "miss")
        if "question" in said:
            parts.append(f"stands on {_quoted(said['question'])}, similarity {cache['similarity']:.2f}")
    if "documents" in said:
        parts.append(_documents(said))
    if "arguments" in said:
        parts.append(_arguments(said))
    tone: Tone = "plain"
    if policy := said.get("policy"):
        parts.append(f"{policy['verdict']} by {', '.join(policy['rules']) or 'no rule'}")
        tone = "plain" if policy["verdict"] == "allow" else "bad"
    if "verdicts" in said:
        words, tone = _checks(said)
        parts.append(words)
    if approval := said.get("approval"):
        waited = f" after {timing(1000 * said['waited_s'])}" if said.get("waited_s") is not None else ""
        parts.append(f"{approval} by {said.get('decided_by') or 'the clock'}{waited}")
        tone = "good" if approval in ("approve", "edit") else "bad"
    return " · ".join(parts), tone


def _arguments(said: Mapping[str, Any]) -> str:
    """The arguments that were extracted, or what a person changed of them."""
    now, shown = said["arguments"], said.get("arguments_shown")
    if not isinstance(now, Mapping):
        return "arguments " + str(now)  # a trace that keeps no words
    after = cast("Mapping[str, Any]", now)
    before = cast("Mapping[str, Any]", shown) if isinstance(shown, Mapping) else None
    names = [name for name in {**(before or {}), **after} if before is None or before.get(name) != after.get(name)]
    words = [
        f"{name} = " + (f"{_brief(before.get(name))} → " if before is not None else "") + _brief(after.get(name))
        for name in names
    ]
    lists = [f"{key}: {', '.join(said[key])}" for key in ("missing", "dropped") if said.get(key)]
    return "; ".join([*words, *lists]) or ("unchanged" if before is not None else "nothing extracted")


def _brief(value: Any, limit: int = 70) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def _generation(said: Mapping[str, Any]) -> str:
    parts = [str(said.get("model") or said.get("asked", "?"))]
    if said.get("fallback"):
        parts.append(f"instead of {said['asked']}: {said['fallback']}")
    if "completion_tokens" in said:
        parts.append(f"{said['prompt_tokens']} → {said['completion_tokens']} tokens")
        parts.append(money(said["usd"]))
        if said.get("usage") == "bound":
            parts.append("usage not reported: charged the upper bound")
    if "confidence" in said:
        parts.append(f"confidence {said['confidence']:.2f}")
    if said.get("prompt"):
        parts.append(f"prompt {said['prompt']}")
    return " · ".join(parts)


def _checks(said: Mapping[str, Any]) -> tuple[str, Tone]:
    verdicts: Mapping[str, bool] = said["verdicts"]
    words = " ".join(f"{'✓' if passed else '✗'} {guard}" for guard, passed in verdicts.items())
    failures: Mapping[str, str] = said.get("failures", {})
    reasons = "; ".join(reason for reason in failures.values() if reason)
    return words + (f" · {reasons}" if reasons else ""), "good" if all(verdicts.values()) else "bad"


def _tagged(said: Mapping[str, Any]) -> str:
    scores: Mapping[str, float] = said["tag_scores"]
    limits, found = said["tag_limits"], said["tagged"]
    if not scores:
        return "not looked for"
    near = ", ".join(f"{tag} {scores[tag]:.2f} against {limits[tag]:.2f}" for tag in found)
    best = max(scores, key=lambda tag: scores[tag])
    return near or f"no tag, the nearest {best} {scores[best]:.2f} against {limits[best]:.2f}"


def _documents(said: Mapping[str, Any]) -> str:
    documents: list[Mapping[str, Any]] = said.get("documents", [])
    named = ", ".join(f"{each['id']}@{each['version']} ({each['score']:.2f})" for each in documents[:5])
    return (named + (f" and {len(documents) - 5} more" if len(documents) > 5 else "")) or "no documents"


def _other(said: Mapping[str, Any]) -> tuple[str, Tone]:
    if "reserved_usd" in said:
        if said.get("reserved"):
            return f"{money(said['reserved_usd'])} and {said['tokens']} tokens for {said['asked_model']}", "faint"
        return f"refused: {said.get('code', '')} {said.get('limit', '')}".rstrip(), "bad"
    if "settled_usd" in said:
        return f"{money(said['settled_usd'])} and {said['tokens']} tokens", "faint"
    if "neighbours" in said:
        nearest = f", the nearest {said['similarity']:.2f}" if said["neighbours"] else ""
        return f"{said['neighbours']} similar questions{nearest}", "faint"
    if "hit" in said:
        return ("hit" if said["hit"] else "miss"), "good" if said["hit"] else "faint"
    if "status" in said and "run" in said:
        return str(said["status"]), "good" if said["status"] == "answered" else "plain"
    if "confidence" in said:
        return f"{said.get('output', '')} {_confidence(said)}".strip(), "plain"
    return "", "faint"


def _confidence(said: Mapping[str, Any]) -> str:
    if said.get("confidence") is None:
        return ""
    against = f" against {said['threshold']:.2f}" if said.get("threshold") is not None else ""
    return f"{said['confidence']:.2f}{against}"


def _quoted(text: Any, limit: int = 70) -> str:
    line = " ".join(str(text).split())
    return f"“{line[:limit]}…”" if len(line) > limit else f"“{line}”"


def short(value: Any) -> str:
    """A value as a condition would write it, three digits of a number."""
    if value is None or isinstance(value, bool):
        return {None: "unknown", False: "false", True: "true"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)
