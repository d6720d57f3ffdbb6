"""Descriptions of each part of the state that a step changed: the one table behind observations and audit events.

An observation has attributes, words and all, which masking then goes over; the names are short and ours, and
`sluicegate.observe.exporters.conventions` gives them those that others know. The audit log has facts in the clear (ids,
versions, hashes, rules, verdicts, costs) and keeps words (what people or models wrote) as keyed hashes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.run_summary import waited_s

__all__ = ["Description", "describe", "is_wordy", "without_words"]

_WORDY = (
    "request.text", "request.attachments",
    "request.standalone", "answer.text", "cache.question", "approval", "extra", "extraction.fields",
    "principal", "tool_calls", "tool.arguments", "tool.result", "tool.error", "item.value", "items", "failed_items",
    "inputs", "replies",
)  # fmt: skip
"""Fields, and groups of fields, whose values are texts or names."""


@dataclass(frozen=True, slots=True)
class Description:
    """One part of the state, described for both."""

    attributes: dict[str, Any]
    facts: Any = None
    """None: nothing of it belongs in the audit log."""
    words: dict[str, str] = field(default_factory=dict[str, str])


def describe(update: Mapping[str, Any]) -> dict[str, Description]:
    """By the keys of `update`, without those that it takes away; what a plug-in's kind keeps is an attribute as it
    is."""
    update = {key: value for key, value in update.items() if value is not None}
    described = {
        key: Description({key: value}) for key, value in update.items() if key not in _TABLE and key not in _OWN
    }
    return described | {key: _TABLE[key](update[key]) for key in _TABLE if key in update}


def without_words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the fields that a condition read, those whose values are neither words of people or models nor names."""
    return {name: value for name, value in values.items() if not is_wordy(name)}


def is_wordy(field: str) -> bool:
    """Whether a field's value is words of people or models, or a name."""
    return any(field == wordy or field.startswith(f"{wordy}.") for wordy in _WORDY)


def _some(value: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _request(request: Any) -> Description:
    attributes = _some(request, ("cleaned", "standalone_confidence"))
    standalone = _some(request, ("standalone",))
    return Description({**attributes, **standalone}, attributes, standalone)


def _intent(intent: Any) -> Description:
    return Description(
        {"intent": intent, "confidence": intent["confidence"]},
        _some(intent, ("label", "confidence", "risk", "task", "out_of_scope", "by")),
    )


def _tags(tags: Any) -> Description:
    # `tags` are a run's own, which its workflow files it under
    return Description(
        {"tagged": tags["found"], "tag_scores": tags["scores"], "tag_limits": tags["limits"]},
        _some(tags, ("found", "scores", "limits")),
    )


def _policy(policy: Any) -> Description:
    return Description({"policy": policy}, _some(policy, ("verdict", "rules", "errors")))


def _route(route: Any) -> Description:
    return Description({"route": route, **_some(route, ("threshold", "needs_large"))}, dict(route))


def _cache(cache: Any) -> Description:
    return Description(
        {"cache": {key: value for key, value in cache.items() if key != "question"}, **_some(cache, ("question",))},
        _some(cache, ("hit", "key", "age_s", "kind", "similarity")),
        {"cached_question": cache["question"]} if "question" in cache else {},
    )


def _documents(documents: Any) -> Description:
    return Description(
        {"documents": [_some(document, ("id", "version", "score")) for document in documents]},
        [_some(document, ("id", "version", "hash", "span")) for document in documents],
    )


def _answer(answer: Any) -> Description:
    # a checkpoint of an earlier release has no answerability
    attributes = {"output": answer["text"], **_some(answer, ("confidence", "answerability", "features"))}
    attributes["citations"] = [f"{citation['document']}@{citation['version']}" for citation in answer["citations"]]
    source = _some(answer, ("model", "prompt", "prompt_hash", "finish", "fallback"))
    cited = [_some(citation, ("marker", "document", "version")) for citation in answer["citations"]]
    return Description(
        attributes | {name: value for name, value in source.items() if value},
        {**source, **_some(answer, ("confidence", "by")), "citations": cited},
        {"answer": answer["text"]},
    )


def _checks(checks: Any) -> Description:
    results = checks["results"]
    verdicts = {result["guard"]: result["passed"] for result in results}
    reasons = {result["guard"]: result["reason"] for result in results if not result["passed"]}
    return Description(
        {"verdicts": verdicts, "failures": reasons, "action": checks["action"]},
        {
            **_some(checks, ("failed", "action", "failures")),
            "results": [_some(result, ("guard", "passed", "action", "ms")) for result in results],
        },
    )


def _approval(approval: Any) -> Description:
    return Description(
        {
            "approval": approval["verdict"],
            "decided_by": approval["by"],
            "approval_reason": approval["reason"],
            "waited_s": waited_s(approval),
            **({"arguments_shown": approval["arguments"]} if "arguments" in approval else {}),
        },
        _some(approval, ("verdict", "asked_at", "decided_at")),
        {
            "approval_reason": approval["reason"],
            "draft": approval["draft"],
            **({"arguments_shown": _json(approval["arguments"])} if "arguments" in approval else {}),
        },
    )


def _extraction(extraction: Any) -> Description:
    return Description(
        {"arguments": extraction["fields"], **_some(extraction, ("missing", "dropped"))},
        {"fields": sorted(extraction["fields"]), **_some(extraction, ("missing", "complete", "confidence", "dropped"))},
        {"arguments": _json(extraction["fields"])},
    )


def _tool_calls(calls: Any) -> Description:
    return Description(
        {"tool_calls": [_some(call, ("tool", "key", "status")) for call in calls]},
        [_some(call, ("tool", "key", "status", "ms")) for call in calls],
        {f"arguments_{number}": str(call["arguments"]) for number, call in enumerate(calls)}
        | {f"result_{number}": _json(call["result"]) for number, call in enumerate(calls) if call["status"] == "done"},
    )


def _replies(replies: Any) -> Description:
    reply = replies[-1]
    return Description(
        {"asks": reply["question"], "reply": reply["text"]},
        _some(reply, ("node", "asked_at", "answered_at")),
        {"asks": reply["question"], "reply": reply["text"]},
    )


def _items(items: Any) -> Description:
    sizes = {f"{name}_results": len(results) for name, results in items.items()}
    return Description(sizes, sizes)


def _failed_items(items: Any) -> Description:
    codes = {
        name: [_some(one, ("index", "node", "cause", "code")) for one in failures] for name, failures in items.items()
    }
    return Description({"failed_items": codes}, codes)


def _spend(spend: Any) -> Description:
    return Description({"spend": spend}, dict(spend))


_TABLE: dict[str, Callable[[Any], Description]] = {
    "request": _request,
    "intent": _intent,
    "tags": _tags,
    "policy": _policy,
    "route": _route,
    "cache": _cache,
    "documents": _documents,
    "extraction": _extraction,
    "answer": _answer,
    "checks": _checks,
    "approval": _approval,
    "tool_calls": _tool_calls,
    "replies": _replies,
    "items": _items,
    "failed_items": _failed_items,
    "spend": _spend,
}
"""In the order in which a later part's attribute wins: the confidence of an answer over that of its intent."""
_OWN = frozenset({"run", "trail", "maps"})
"""Told by the run itself and by its branches."""
