"""Workflows that try to get a verdict round the proofs, as their authors would write them; and some that only look so.

Each is loaded from its file, so that the config, the conditions and the kinds take part.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.errors import ConfigError
from sluicegate.graphs.config.load import inspect
from sluicegate.nodes.kind import NodeKind
from tests.support.plugged import kind, plugged

HEAD: dict[str, Any] = {
    "workflow": "t",
    "version": 1,
    "purpose": "p",
    "models": {
        "slm": {"use": "embedded:smollm2-135m"},
        "llm": {"use": "embedded:smollm2-135m"},
        "embedder": {"use": "embedded:all-minilm-l6-v2"},
    },
    "intents": {
        "lo": {"task": "short-answer", "risk": "low"},
        "to": {"task": "tool", "risk": "high", "tool": "create_ticket", "fields": {"title": "{{question}}"}},
    },
    "router": {"strategy": "slm", "threshold": 0.8},
    "start": "c",
}
ENDS = {"ok": {"kind": "respond"}, "nay": {"kind": "refuse"}}


def step(kind: str, *ways: str | tuple[str, str], **settings: Any) -> dict[str, Any]:
    then = [{"otherwise": way} if isinstance(way, str) else {"when": way[0], "go": way[1]} for way in ways]
    return {"kind": kind, **settings, "then": then}


def gate(to: str, denied: str = "nay") -> dict[str, Any]:
    return step("policy-check", ("policy.verdict == 'deny'", denied), to)


def check(to: str, failed: str = "nay", *guards: str) -> dict[str, Any]:
    return step("output-check", ("checks.failed", failed), to, guards=["pii", *guards])


def person(to: str) -> dict[str, Any]:
    return step("human-interrupt", ("approval.verdict in ['approve', 'edit']", to), "nay", approvers="role:lead")


def tool(say: str, to: str = "ok") -> dict[str, Any]:
    return step("call-tool", ("tool.ok", to), "nay", say=say)


def draft(to: str, kind: str = "slm-answer") -> dict[str, Any]:
    return step(kind, to, prompt="answer")


def only(condition: str) -> dict[str, Any]:
    """A workflow whose gate asks one odd condition."""
    return {"g": step("policy-check", (condition, "ok"), "nay")}


CACHE = step("cache-lookup", ("cache.hit", "ok"), "nay")
MAILER = kind("mailer", {"tool_calls"}, {"calls-tool"}, sends=True)

DENIED, REJECTED, FAILED = "denied by a policy-check gets no", "what a person rejected", "failed its output-check"
APPROVED, UNCHECKED = "what a person approved", "no generated answer is sent"

BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "a denial, by a third node and a weaker gate": (
        DENIED, {"g": gate("ok", "x"), "x": step("tag", "g2", tags={"leak": {}}), "g2": gate("ok")},
    ),
    "a denial, by asking again until it is allowed": (
        DENIED,
        {"g": step("policy-check", ("policy.verdict == 'deny'", "g"), ("policy.verdict == 'deny'", "nay"), "ok",
                   max_visits=3)},
    ),
    "a denial, by an answer from the cache": (DENIED, {"g": gate("r", "r"), "r": CACHE}),
    "no gate at all before the cache": ("no cached answer is looked up", {"g": CACHE}),
    "a rejection, read at a later node": (
        REJECTED,
        {"g": gate("a"), "a": draft("h"), "h": step("human-interrupt", "k", approvers="role:lead"), "k": check("ok")},
    ),
    "a timeout, by a branch for rejections only": (
        REJECTED,
        {"g": gate("a"), "a": draft("k"), "k": check("h"),
         "h": step("human-interrupt", ("approval.verdict == 'reject'", "nay"), "ok", approvers="role:lead")},
    ),
    "an approval, by a new draft": (
        APPROVED,
        {"g": gate("a"), "a": draft("h"), "h": person("b"), "b": draft("k", "llm-synthesize"), "k": check("ok")},
    ),
    "an approval, by arguments that are extracted after it": (
        APPROVED, {"g": gate("h"), "h": person("x"), "x": draft("t", "extract"), "t": tool("Done.")},
    ),
    "a failure, by escalation to a check of fewer guards": (
        FAILED,
        {"g": gate("a"), "a": draft("k"), "k": check("ok", "b", "secrets"), "b": draft("k2", "llm-synthesize"),
         "k2": check("ok")},
    ),
    "a failure, by an action that is forgotten": (
        FAILED,
        {"g": gate("a"), "a": draft("k"),
         "k": step("output-check", ("checks.action in ['human', 'refuse']", "nay"), "ok", guards=["pii"])},
    ),
    "a tool's words": (UNCHECKED, {"g": gate("t"), "t": tool("{{   result.id\t}}")}),
    "a tool's words, over two lines": (UNCHECKED, {"g": gate("t"), "t": tool("{{\nresult.id\n}}")}),
    "the request, by the intent's fields": (UNCHECKED, {"g": gate("t"), "t": tool("{{title}}")}),
    "a draft, by a tool that sends": (
        UNCHECKED, {"g": gate("a"), "a": draft("m"), "m": step("mailer", "k"), "k": check("ok")},
    ),
    "a prefix that no verdict has": (DENIED, only("!policy.verdict.startsWith('den!')")),
    "a macro that always holds": (DENIED, only("['allow'].exists(v, v == policy.verdict || true)")),
    "a variable with the name of a group of fields": (DENIED, only("['allow'].all(policy, policy == 'allow')")),
}  # fmt: skip


def told(folder: Path, nodes: dict[str, Any], *installed: NodeKind) -> list[str]:
    (folder / "prompts").mkdir()
    (folder / "prompts" / "answer.md").write_text("---\nid: answer\nversion: 1\n---\n{{question}}\n")
    file = folder / "workflow.yaml"
    # JSON is YAML
    file.write_text(json.dumps({**HEAD, "nodes": {"c": step("classify", "g"), **nodes, **ENDS}}))
    with plugged(*installed):
        return [problem.message for problem in inspect(file)[1] if problem.severity == "error"]


@pytest.mark.parametrize("what", BROKEN)
def test_nothing_gets_round_the_proofs(what: str, tmp_path: Path) -> None:
    guarantee, nodes = BROKEN[what]
    messages = told(tmp_path, nodes, MAILER)
    assert messages
    assert all(message.startswith("guarantee broken: ") for message in messages)
    assert any(guarantee in message for message in messages)


PROVED: dict[str, dict[str, Any]] = {
    "a macro": only("['allow'].exists(v, v == policy.verdict)"),
    "a choice": only("policy.verdict == 'deny' ? false : true"),
    "an escape": only("policy.verdict != '\\x64eny'"),
    "a pattern": only("policy.verdict.matches('^allow$')"),
    "a length": only("size(policy.verdict) != 4"),
    "the actions of a check": {
        "g": gate("a"), "a": draft("k"), "h": person("ok"),
        "k": step("output-check", ("checks.action in ['pass', 'redact']", "ok"), "h", guards=["pii"]),
    },
    "an edit by a second person": {
        "g": gate("a"), "a": draft("k"), "k": check("h"), "h": person("h2"), "h2": person("ok"),
    },
    "extract, ask, call, report": {
        "g": gate("x"), "x": draft("h", "extract"), "h": person("t"), "t": tool("{{result.id}}", "k"), "k": check("ok"),
    },
}  # fmt: skip


@pytest.mark.parametrize("what", PROVED)
def test_what_only_looks_so_is_proved(what: str, tmp_path: Path) -> None:
    assert told(tmp_path, PROVED[what]) == []


@pytest.mark.parametrize("name", ["asks-human", "checks", "sends"])
def test_no_kind_has_the_name_of_an_effect(name: str, tmp_path: Path) -> None:
    """A guarantee would take it for one that has it."""
    with pytest.raises(ConfigError, match=f"'{name}' uses a name that is already taken"):
        told(tmp_path, {"g": gate("h"), "h": step(name, "ok")}, kind(name, set()))
