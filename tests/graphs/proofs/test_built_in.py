"""The built-in guarantees on shapes of real workflows: what breaks them, what is said of it, what stays provable."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.graphs.config.load import inspect
from sluicegate.graphs.proofs import Guarantee, Waiver, prove
from sluicegate.graphs.proofs.flow import Flow, FlowNode
from sluicegate.nodes.kind import NodeKind
from tests.support.plugged import kind, plugged
from tests.support.proof_flows import LISTED, flow, known, node

DENIED = "policy.verdict == 'deny'"
APPROVED = "approval.verdict in ['approve', 'edit']"
GATE = node("g", "policy-check", (DENIED, "no"), "a")
DRAFT = node("a", "slm-answer", "k")
ENDS = (node("ok", "respond"), node("no", "refuse"))
FEW, MANY = frozenset({"length"}), frozenset({"length", "secrets"})


def check(name: str, *branches: str | tuple[str, str], guards: frozenset[str] = MANY) -> FlowNode:
    return node(name, "output-check", *branches, guards=guards)


def broken(*nodes: FlowNode, waived: Sequence[str] = (), guarantees: Sequence[Guarantee] = ()) -> list[tuple[str, str]]:
    """The path and the hint of every guarantee that is broken."""
    waivers = [Waiver(name, "as the test says") for name in waived]
    problems = [one for one in prove(flow(*nodes, *ENDS), guarantees, waivers, known, LISTED) if one.code == "SG134"]
    return [(one.message.partition("by the path ")[2].partition(" (")[0], one.hint or "") for one in problems]


LAUNDERED = {
    "a denial, by a weaker gate": [
        node("g", "policy-check", (DENIED, "g2"), "ok", guards=MANY),
        node("g2", "policy-check", (DENIED, "no"), "ok"),
    ],
    "a rejection, by oneself": [
        node("g", "policy-check", (DENIED, "no"), "h"),
        node("h", "human-interrupt", (APPROVED, "ok"), "h2"),
        node("h2", "human-interrupt", (APPROVED, "ok"), "no"),
    ],
    "a rejection, by asking until it is approved": [
        node("g", "policy-check", (DENIED, "no"), "h"),
        node("h", "human-interrupt", (APPROVED, "ok"), ("true", "h"), "no", max_visits=3),
    ],
    "what failed, by fewer guards": [
        GATE, DRAFT, check("k", ("checks.failed", "k2"), "ok"), check("k2", ("checks.failed", "no"), "ok", guards=FEW),
    ],
    "what failed, by a second look at the same draft": [
        GATE, DRAFT, check("k", ("checks.failed", "k2"), "ok"), check("k2", ("checks.failed", "no"), "ok"),
    ],
    "what failed, by a new draft and fewer guards": [
        GATE,
        DRAFT,
        check("k", ("checks.failed", "b"), "ok"),
        node("b", "llm-synthesize", "k2"),
        check("k2", ("checks.failed", "no"), "ok", guards=FEW),
    ],
    "what failed, by words that a tool may not have": [
        GATE,
        DRAFT,
        check("k", ("checks.failed", "t"), "ok"),
        node("t", "call-tool", "k2"),
        check("k2", ("checks.failed", "no"), "ok"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("how", LAUNDERED)
def test_a_verdict_is_not_laundered(how: str) -> None:
    [(path, hint)] = broken(*LAUNDERED[how])
    assert path.endswith("ok")
    first = {"a denial": "'g'", "a rejection": "'h'", "what failed": "'k'"}[how.partition(",")[0]]
    assert first in hint
    assert "or waive '" in hint


KEPT: dict[str, list[FlowNode]] = {
    "revised and checked again": [
        GATE,
        node("a", "slm-answer", "k", max_visits=2),
        check("k", ("checks.failed", "a"), ("checks.failed", "no"), "ok"),
    ],
    "drafted by a larger model and checked by as many guards": [
        GATE,
        DRAFT,
        check("k", ("checks.failed", "b"), "ok", guards=FEW),
        node("b", "llm-synthesize", "k2"),
        check("k2", ("checks.failed", "no"), "ok"),
    ],
    "put to a person": [
        GATE,
        DRAFT,
        check("k", ("checks.failed", "h"), "ok"),
        node("h", "human-interrupt", (APPROVED, "ok"), "no"),
    ],
    "approved, then redacted": [
        GATE,
        DRAFT,
        node("k", "human-interrupt", (APPROVED, "k2"), "no"),
        check("k2", ("checks.failed", "no"), "ok"),
    ],
    "approved with its arguments, called, and reported": [
        node("g", "policy-check", (DENIED, "no"), "x"),
        node("x", "extract", "h"),
        node("h", "human-interrupt", (APPROVED, "say"), "no"),
        replace(node("say", "call-tool", "k"), effects=frozenset({"calls-tool", "generates-answer"})),
        check("k", ("checks.failed", "no"), "ok"),
    ],
    "approved twice": [
        GATE,
        DRAFT,
        check("k", ("checks.failed", "no"), "h"),
        node("h", "human-interrupt", (APPROVED, "b"), "no"),
        node("b", "llm-synthesize", "k2"),
        check("k2", ("checks.failed", "no"), "h2"),
        node("h2", "human-interrupt", (APPROVED, "ok"), "no"),
    ],
}


@pytest.mark.parametrize("how", KEPT)
def test_what_is_in_order_is_proved(how: str) -> None:
    assert broken(*KEPT[how]) == []


@pytest.mark.parametrize(("later", "kind"), [("a", "slm-answer"), ("x", "extract"), ("c", "classify")])
def test_an_approval_covers_what_goes_out(later: str, kind: str) -> None:
    nodes = [
        node("g", "policy-check", (DENIED, "no"), "h"),
        node("h", "human-interrupt", (APPROVED, later), "no"),
        node(later, kind, "k"),
        check("k", ("checks.failed", "no"), "t"),
        node("t", "call-tool", "ok"),
    ]
    [(path, hint)] = broken(*nodes)
    assert path == f"g, h, {later}, k, t"
    assert hint == (
        f"Put {later!r} before the human-interrupt, or another human-interrupt between {later!r} and 't'; or waive "
        "'approvals-cover' with a reason"
    )
    assert broken(*nodes, waived=["approvals-cover"]) == []


def test_an_answer_from_the_cache_is_looked_up_after_the_gate() -> None:
    looked_up = node("r", "cache-lookup", ("cache.hit", "ok"), "no")
    assert [path for path, _ in broken(looked_up)] == ["r"]
    assert broken(node("g", "policy-check", (DENIED, "no"), "r"), looked_up) == []


REFUSED = ("checks.action == 'refuse'", "no")


@pytest.mark.parametrize(
    ("ways", "paths"),
    [
        ([("checks.action in ['pass', 'redact']", "ok"), "h"], []),
        ([REFUSED, ("checks.action in ['regenerate', 'escalate', 'human']", "h"), "ok"], []),
        ([REFUSED, ("checks.action in ['regenerate', 'escalate']", "h"), "ok"], ["g, a, k, ok"]),
        ([("checks.action != 'pass'", "h"), "ok"], []),
        ([("checks.action == 'redact'", "ok"), ("checks.failed", "h"), "ok"], []),
    ],
)
def test_what_a_check_asks_for_says_whether_it_failed(ways: list[str | tuple[str, str]], paths: list[str]) -> None:
    """Branches on `checks.action` are as good as those on `checks.failed`."""
    asked = node("h", "human-interrupt", (APPROVED, "ok"), "no")
    assert [path for path, _ in broken(GATE, DRAFT, check("k", *ways), asked)] == paths


DELIVER = kind("deliver", {"run", "route"}, {"ends"})
PARK = kind("park", {"run"}, {"ends"}, sends=False)
PHRASE = kind("phrase", {"answer"})
OUTBOX = kind("outbox", {"answer", "run"}, {"ends"})
MAIL = kind("mail", (), sends=True)


@pytest.mark.parametrize(
    ("end", "paths"), [(DELIVER, ["g, out", "g, a, k, h, out", "g, out"]), (PARK, []), ("refuse", [])]
)
def test_an_end_that_does_not_say_otherwise_sends(end: NodeKind | str, paths: list[str]) -> None:
    """A guarantee that forbids `respond` forbids it, too."""
    nodes = [
        node("g", "policy-check", (DENIED, "out"), "a"),
        DRAFT,
        check("k", ("checks.failed", "no"), "h"),
        node("h", "human-interrupt", "out"),
        node("out", end),
    ]
    asked = Guarantee(no=("respond",), without=("human-interrupt",))
    drawn = flow(*nodes, node("no", "refuse"))
    problems = prove(drawn, [asked], [], known, LISTED)
    assert [
        one.message.partition("by the path ")[2].partition(" (")[0] for one in problems if one.code == "SG134"
    ] == paths


def test_whoever_writes_an_answer_drafts() -> None:
    hint = "Put an output-check node on this path, or make one of its branches impossible"
    drafted = [node("g", "policy-check", (DENIED, "no"), "a"), node("a", PHRASE, "ok")]
    assert broken(*drafted) == [("g, a, ok", f"{hint}; or waive 'checked-answers' with a reason")]
    # and in an end that sends what it drafts, nobody can check it
    assert [path for path, _ in broken(GATE, node("a", OUTBOX))] == ["g, a"]
    assert [path for path, _ in broken(GATE, node("a", PHRASE, "m"), node("m", MAIL, "no"))] == ["g, a, m"]
    assert [path for path, _ in broken(node("a", PHRASE, "no"))] == ["a"]


WORKFLOW = """
workflow: t
version: 1
purpose: p
models: {slm: {use: "embedded:smollm2-135m"}}
intents: {it: {task: tool, tool: create_ticket}}
router: {strategy: slm, threshold: 0.8}
start: c
nodes:
  c: {kind: classify, then: g}
  g: {kind: policy-check, then: [{when: "policy.verdict == 'deny'", go: nay}, {otherwise: t}]}
  t: {kind: call-tool, tool: create_ticket, SAY then: [{when: "tool.ok", go: ok}, {otherwise: nay}]}
  ok: {kind: END}
  nay: {kind: refuse}
"""


def told(folder: Path, say: str, end: str) -> list[str]:
    file = folder / "workflow.yaml"
    file.write_text(WORKFLOW.replace("SAY", say).replace("END", end), encoding="utf-8")
    return [problem.message for problem in inspect(file)[1] if problem.severity == "error"]


@pytest.mark.parametrize(
    ("say", "drafts"),
    [
        ("", False),
        ('say: "The ticket is open.",', False),
        ('say: "Ticket {{result.id}}.",', True),
        ('say: "{{title}}",', True),
    ],
)
@pytest.mark.parametrize("end", ["respond", "deliver"])
def test_what_a_tool_says_is_a_draft(tmp_path: Path, say: str, drafts: bool, end: str) -> None:
    with plugged(DELIVER):
        found = told(tmp_path, say, end)
    path = "no generated answer is sent before an output-check; by the path c, g, t, ok"
    assert [path in message for message in found] == [True] * drafts


def test_an_installed_check_is_as_strong_as_its_like() -> None:
    """What it looks for is not known, so another kind does not mend what it found."""
    own = check("k", ("checks.failed", "b"), "ok", guards=frozenset({"scan {}"}))
    again = [node("b", "llm-synthesize", "k2"), check("k2", ("checks.failed", "no"), "ok")]
    assert [path for path, _ in broken(GATE, DRAFT, own, *again)] == ["g, a, k, b, k2, ok"]
    like = [node("b", "llm-synthesize", "k2"), replace(own, name="k2", edges=again[1].edges)]
    assert broken(GATE, DRAFT, own, *like) == []


def test_guards_of_an_installed_check_come_from_its_settings(tmp_path: Path) -> None:
    scan = kind("scan", {"checks"}, {"checks"})
    with plugged(scan):
        file = tmp_path / "workflow.yaml"
        text = WORKFLOW.replace("SAY", "").replace("END", "respond").replace("go: ok", "go: k")
        file.write_text(text + '  k: {kind: scan, then: [{when: "checks.failed", go: nay}, {otherwise: ok}]}\n')
        workflow, problems = inspect(file)
    assert workflow is not None, problems
    flow_of: Flow = workflow.flow
    assert flow_of.nodes["k"].guards == {"scan {}"}
