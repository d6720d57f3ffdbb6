"""Random flows of built-in and installed kinds, and what a run may find at their nodes, for proofs by brute force."""

from dataclasses import replace
from random import Random

from sluicegate.graphs.proofs import BUILT_IN, Semantics, broken
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.nodes.kinds.call_tool import CALL_TOOL
from tests.support.plugged import kind
from tests.support.proof_flows import LISTED, flow, known, node

SAY = replace(CALL_TOOL, name="say", drafts=True)
DELIVER = kind("deliver", {"run"}, {"ends"})
PARK = kind("park", {"run"}, {"ends"}, sends=False)
OUTBOX = kind("outbox", {"run", "answer"}, {"ends"})
MAIL = kind("mail", (), (), sends=True)
PHRASE = kind("phrase", {"answer"})
LETTER = kind("letter", {"answer", "tool_calls"}, {"calls-tool", "generates"})
FAQ = kind("faq", {"answer", "cache"}, {"looks-up"})

FEW = ("policy-check", "slm-answer", "output-check", "human-interrupt")
MIDDLE = (
    *FEW,
    *FEW,
    "ask",
    "ask",
    "classify",
    "wait",
    "cache-lookup",
    "extract",
    "call-tool",
    SAY,
    MAIL,
    PHRASE,
    LETTER,
    FAQ,
    "x",
)
ENDS = ("respond", DELIVER, OUTBOX)
OUTCOMES: dict[str, tuple[tuple[object, dict[str, object]], ...]] = {
    "policy-check": tuple((verdict, {"policy.verdict": verdict}) for verdict in ("allow", "deny")),
    "output-check": tuple(
        (failed, {"checks.failed": failed, "checks.action": action})
        for failed, action in ((False, "pass"), (False, "redact"), (True, "refuse"), (True, "human"))
    ),
    "human-interrupt": tuple((verdict, {"approval.verdict": verdict}) for verdict in ("approve", "reject")),
}
"""What a node may find, and the fields that say so."""
ASKS = {
    "policy-check": ("policy.verdict == 'deny'", "policy.verdict == 'allow'"),
    "output-check": (
        "checks.failed",
        "!checks.failed",
        "checks.action == 'human'",
        "checks.action in ['pass', 'redact']",
    ),
    "human-interrupt": ("approval.verdict in ['approve', 'edit']", "!(approval.verdict in ['approve', 'edit'])"),
}
OTHERS = ("spend.stopped", "!spend.stopped")
DOMAINS = LISTED
SENDS = ("respond", "deliver", "outbox", "mail")
CALLS = ("call-tool", "say", "letter")
GENERATES = ("slm-answer", "extract", "letter")


def drawn(random: Random, *, of_others: bool, failing: bool = False) -> Flow:
    """A flow whose nodes branch on what they have just found; with `of_others` also on what others had found, with
    `failing` also on their failure. Where nobody answers, an `ask` fails."""
    size = random.randint(2, 6)
    names = [f"n{index}" for index in range(size)]
    ends = [node("yes", random.choice(ENDS)), node("no", random.choice(("refuse", "refuse", PARK)))]
    targets = {index: random.choice((names, names[index + 1 :], names[index + 1 :])) for index in range(size)}
    nodes: list[FlowNode] = []
    for index, name in enumerate(names):
        chosen = random.choice(MIDDLE)
        own = ASKS.get(chosen, OTHERS) if isinstance(chosen, str) else OTHERS
        asked = (*own, *(random.choice(tuple(ASKS.values())) if of_others else ()))
        ways: list[str | tuple[str, str]] = [
            (random.choice(asked), random.choice((*targets[index], "yes", "no"))) for _ in range(random.randint(0, 2))
        ]
        ways.append(random.choice((*targets[index], "yes", "no")))
        guards = frozenset(random.choice(("a", "ab", "b"))) if chosen == "output-check" else frozenset[str]()
        # who is entered again is entered at most twice, so that there are not endlessly many runs
        made = node(name, chosen, *ways, max_visits=random.randint(1, 2), guards=guards)
        if chosen == "ask" or (failing and chosen not in ("human-interrupt", "wait") and random.random() < 0.4):
            made = replace(made, on_error=Edge(random.choice((*targets[index], "yes", "no"))))
        nodes.append(made)
    return flow(*nodes, *ends)


def proved(of: Flow) -> dict[str, int]:
    """What the prover finds broken, with the length of the path that it shows."""
    found = {one.name: broken(Semantics(of, known, DOMAINS), one) for one in BUILT_IN}
    return {name: len(each.route) for name, each in found.items() if each is not None}
