"""Proofs on named shapes: what each is told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from sluicegate.errors import Place, Problem
from sluicegate.graphs import proofs
from sluicegate.graphs.proofs import Guarantee, Waiver
from sluicegate.graphs.proofs.flow import Flow
from tests.support.proof_flows import INTENTS, LISTED, flow, helpdesk, known, node

HIGH_ASKS = Guarantee(no=("respond",), without=("human-interrupt",), when="intent.risk == 'high'")
STATED = (
    Guarantee(no=("slm-answer", "llm-synthesize", "call-tool"), without=("policy-check",)),
    Guarantee(no=("respond",), without=("output-check",), after=("slm-answer", "llm-synthesize")),
    HIGH_ASKS,
)
CHECKED = {"checks.failed": (False, True)}
END, NO = node("end", "respond"), node("no", "refuse")


def prove(
    drawn: Flow,
    guarantees: Sequence[Guarantee],
    waivers: Sequence[Waiver],
    known: proofs.Known,
    domains: Mapping[str, Sequence[object]] | None = None,
) -> list[Problem]:
    """Without the built-in guarantees on verdicts: these shapes heed none, and they have tests of their own."""
    heedless = [Waiver(name, "not shown here") for name in ("denials-hold", "failures-hold", "rejections-hold")]
    return proofs.prove(drawn, guarantees, [*waivers, *heedless], known, domains)


def told(problems: list[Problem]) -> list[str]:
    return [f"{problem.code} {problem.message}" for problem in problems]


def test_the_helpdesk_is_proved() -> None:
    assert proofs.prove(helpdesk(), STATED, [], known, LISTED) == []


def test_a_cached_answer_for_every_risk_breaks_the_third_guarantee() -> None:
    [problem] = prove(helpdesk(recall="cache.hit"), STATED, [], known)
    assert told([problem]) == [
        (
            "SG134 guarantee broken: no respond without human-interrupt when intent.risk == 'high'; by the path "
            "classify, gate, recall, respond (gate to recall by otherwise; recall to respond by cache.hit), "
            "for intent payroll"
        )
    ]
    assert problem.hint == "Put a human-interrupt node on this path, or make one of its branches impossible"


SHAPES: dict[str, tuple[Flow, list[str]]] = {
    "straight": (flow(node("a", "x", "b"), node("b", "respond")), []),
    "unreachable": (
        flow(node("a", "x", "c"), node("b", "x", "c"), node("c", "respond")),
        ["SG130 node 'b' is unreachable from 'a'"],
    ),
    "no end": (
        flow(node("a", "x", "b"), node("b", "x", "a", max_visits=2)),
        [
            "SG131 no end is reachable from node 'a'",
            "SG131 no end is reachable from node 'b'",
            "SG132 the branches of 'a' are not exhaustive: its last branch goes to 'b', whose 2 visits can be used up",
        ],
    ),
    "endless cycle": (
        flow(node("a", "x", "b"), node("b", "x", ("u.p", "a"), "c"), node("c", "respond")),
        ["SG133 a run can go round a -> b -> a for ever"],
    ),
    "endless self-loop": (
        flow(node("a", "x", ("u.p", "a"), "c"), node("c", "respond")),
        ["SG133 a run can go round a -> a for ever"],
    ),
    "bounded cycle": (
        flow(node("a", "x", "b", max_visits=3), node("b", "x", ("u.p", "a"), "c"), node("c", "respond")),
        [],
    ),
    "a bounded node off every cycle is never used up": (
        flow(node("a", "x", "b"), node("b", "x", "c", max_visits=1), node("c", "respond")),
        [],
    ),
    "otherwise can be used up": (
        flow(node("a", "x", ("u.p", "c"), "b"), node("b", "x", "a", max_visits=2), node("c", "respond")),
        ["SG132 the branches of 'a' are not exhaustive: its last branch goes to 'b', whose 2 visits can be used up"],
    ),
    "no otherwise": (
        flow(node("a", "x", ("u.p", "c")), node("c", "respond")),
        ["SG132 the branches of 'a' are not exhaustive: no branch is certain to be taken"],
    ),
    "a boolean and its negation": (
        flow(
            node("a", "output-check", ("checks.failed", "b"), ("!checks.failed", "c")),
            node("b", "refuse"),
            node("c", "respond"),
        ),
        [],
    ),
    "a boolean and its negation before anyone wrote it": (
        flow(
            node("a", "x", ("checks.failed", "b"), ("!checks.failed", "c")), node("b", "refuse"), node("c", "respond")
        ),
        ["SG132 the branches of 'a' are not exhaustive: no branch is certain to be taken"],
    ),
    "every intent named": (
        flow(
            node("a", "classify", ("intent.risk == 'high'", "b"), ("intent.risk == 'low'", "c")),
            node("b", "refuse"),
            node("c", "respond"),
            intents=INTENTS,
        ),
        [],
    ),
    "an intent forgotten": (
        flow(
            node("a", "classify", ("intent.task == 'tool'", "b"), ("intent.task == 'short-answer'", "c")),
            node("b", "refuse"),
            node("c", "respond"),
            intents=INTENTS,
        ),
        ["SG132 the branches of 'a' are not exhaustive: no branch is certain for intent outage_report"],
    ),
    "an intent has no value before a node classified": (
        flow(
            node("a", "x", ("intent.risk == 'high'", "b"), ("intent.risk != 'high'", "b")),
            node("b", "classify", "c"),
            node("c", "respond"),
            intents=INTENTS,
        ),
        [
            "SG132 the branches of 'a' are not exhaustive: no branch is certain to be taken",
            *(
                f"SG136 branch \"intent.risk {sign} 'high'\" of 'a' to 'b' is never taken: its condition is false "
                "whenever a run gets here"
                for sign in ("==", "!=")
            ),
        ],
    ),
    "the same condition twice": (
        flow(node("a", "x", ("u.p", "b"), ("u.p", "c"), "b"), node("b", "refuse"), node("c", "respond")),
        ["SG136 branch 'u.p' of 'a' to 'c' is never taken: an earlier branch is always taken"],
    ),
    "the same condition again once visits are used up": (
        flow(
            node("a", "x", ("u.p", "b"), ("u.p", "c"), "d"),
            node("b", "x", "a", max_visits=1),
            node("c", "refuse"),
            node("d", "respond"),
        ),
        [],
    ),
    "impossible for every intent": (
        flow(
            node("a", "classify", ("intent.risk == 'medium'", "b"), "c"),
            node("b", "refuse"),
            node("c", "respond"),
            intents=INTENTS,
        ),
        [
            (
                "SG136 branch \"intent.risk == 'medium'\" of 'a' to 'b' is never taken: its condition is false "
                "whenever a run gets here"
            )
        ],
    ),
    "a model before the policy": (
        flow(
            node("a", "slm-answer", "b"),
            node("b", "policy-check", "k"),
            node("k", "output-check", "c"),
            node("c", "respond"),
        ),
        [
            (
                "SG134 guarantee broken: no model answers, no cached answer is looked up and no tool is called before "
                "a policy-check; by the path a"
            ),
        ],
    ),
    "drafted again after the check": (
        flow(
            node("p", "policy-check", "a"),
            node("a", "slm-answer", "k"),
            node("k", "output-check", ("u.p", "z"), "c"),
            node("z", "llm-synthesize", "c"),
            node("c", "respond"),
        ),
        [
            (
                "SG134 guarantee broken: no generated answer is sent before an output-check; by the path "
                "p, a, k, z, c (k to z by u.p)"
            )
        ],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str) -> None:
    drawn, expected = SHAPES[shape]
    assert told(prove(drawn, [], [], known, CHECKED)) == expected


def test_a_true_branch_cuts_off_the_later_ones_unless_it_can_be_used_up() -> None:
    def drawn(max_visits: int | None) -> Flow:
        return flow(
            node("start", "classify", "a"),
            node("a", "x", ("intent.risk == 'high'", "ask"), "end"),
            node("ask", "human-interrupt", ("u.p", "a"), "end", max_visits=max_visits),
            node("end", "respond"),
            intents=INTENTS,
        )

    # used up or not, the person was asked by then
    assert prove(drawn(2), [HIGH_ASKS], [], known) == []
    asked_last = Guarantee(every=("x",), reaches=("human-interrupt",), when="intent.risk == 'high'")
    [problem] = prove(drawn(2), [asked_last], [], known)
    assert "by the path start, a, ask, a, ask, a, end" in problem.message


def test_a_route_counts_visits() -> None:
    """Skipping `loop` takes two rounds: the shorter route that pretends it is used up is not shown."""
    drawn = flow(
        node("a", "x", "b"),
        node("b", "x", ("true", "loop"), "end"),
        node("loop", "x", "b", max_visits=2),
        node("end", "respond"),
    )
    [problem] = prove(drawn, [Guarantee(no=("respond",), without=("human-interrupt",))], [], known)
    assert "by the path a, b, loop, b, loop, b, end" in problem.message


def test_a_second_classifier_may_change_the_risk() -> None:
    drawn = flow(
        node("a", "classify", ("intent.risk == 'high'", "ask"), "b"),
        node("b", "classify", "end"),
        node("ask", "human-interrupt", "end"),
        node("end", "respond"),
        intents=INTENTS,
    )
    [problem] = prove(drawn, [HIGH_ASKS], [], known)
    assert "by the path a, b, end" in problem.message
    assert problem.message.endswith("for intents access_request, payroll")


def test_every_run_passes_later() -> None:
    drawn = flow(
        node("p", "policy-check", "a"),
        node("a", "slm-answer", ("u.p", "k"), "end"),
        node("k", "output-check", "end"),
        node("end", "refuse"),
    )
    [problem] = prove(drawn, [Guarantee(every=("slm-answer",), reaches=("output-check",))], [], known)
    assert problem.message == (
        "guarantee broken: every slm-answer reaches output-check; by the path p, a, end (a to end by otherwise)"
    )
    assert prove(drawn, [Guarantee(every=("output-check",), reaches=("refuse",))], [], known) == []


def test_a_fact_about_the_principal_holds_from_the_start() -> None:
    drawn = flow(
        node("a", "x", ("principal.clearance == 'public'", "ask"), "end"),
        node("ask", "human-interrupt", "end"),
        node("end", "respond"),
    )
    asked = Guarantee(no=("respond",), without=("human-interrupt",), when="principal.clearance == 'public'")
    assert prove(drawn, [asked], [], known, LISTED) == []
    other = Guarantee(no=("respond",), without=("human-interrupt",), when="principal.clearance == 'internal'")
    [problem] = prove(drawn, [other], [], known, LISTED)
    assert problem.message == (
        f"guarantee broken: {other}; by the path a, end (a to end by otherwise), "
        "for a run with principal.clearance 'internal'"
    )


def test_what_no_node_changes_is_still_known_at_the_next_node() -> None:
    """Each node asks the same of the requester; a run cannot be of the public at one and not at the other."""
    drawn = flow(
        node("a", "x", ("principal.clearance == 'public'", "ask"), "b"),
        node("ask", "human-interrupt", "b"),
        node("b", "x", ("principal.clearance == 'public'", "end"), "no"),
        node("end", "respond"),
        node("no", "refuse"),
    )
    asked = Guarantee(no=("respond",), without=("human-interrupt",))
    assert prove(drawn, [asked], [], known, LISTED) == []
    changes = replace(drawn.nodes["ask"], writes=frozenset({"principal"}))
    changed = replace(drawn, nodes={**drawn.nodes, "ask": changes})
    assert "by the path a, b, end" in told(prove(changed, [asked], [], known, LISTED))[0]


def test_a_fact_that_a_run_changes_proves_nothing() -> None:
    drawn = flow(node("a", "output-check", "end"), node("end", "respond"))
    [problem] = prove(drawn, [Guarantee(no=("respond",), without=("x",), when="checks.failed")], [], known)
    assert problem.code == "SG134"
    assert "checks.failed can change during a run" in problem.message


def test_a_field_that_nobody_wrote_opens_neither_branch() -> None:
    def drawn(first: str) -> Flow:
        return flow(
            node("a", first, ("checks.failed", "ask"), ("!checks.failed", "ask"), "end"),
            node("ask", "human-interrupt", "end"),
            node("end", "respond"),
        )

    asked = Guarantee(no=("respond",), without=("human-interrupt",))
    assert [problem.code for problem in prove(drawn("output-check"), [asked], [], known, CHECKED)] == ["SG136"]
    [problem] = prove(drawn("retrieve"), [asked], [], known, CHECKED)
    assert "by the path a, end" in problem.message


DENIED = "a request denied by a policy-check gets no model output, no tool call and no answer"
FAILED = "a draft that failed its output-check is not sent unless a human-interrupt comes first"
REJECTED = "what a person rejected, or nobody decided in time, is not sent and calls no tool"
HEEDLESS: dict[str, tuple[Flow, list[str]]] = {
    "nobody looks at the policy's verdict": (
        flow(node("p", "policy-check", "a"), node("a", "slm-answer", "no"), node("no", "refuse")),
        [f"{DENIED}; by the path p, a"],
    ),
    "a denial is overruled by an intent": (
        flow(
            node("c", "classify", "p"),
            node("p", "policy-check", ("policy.verdict == 'deny' && intent.risk == 'high'", "no"), "end"),
            node("no", "refuse"),
            node("end", "respond"),
            intents=INTENTS,
        ),
        [f"{DENIED}; by the path c, p, end (p to end by otherwise), for intents password_reset, outage_report"],
    ),
    "only what is allowed goes on": (
        flow(node("p", "policy-check", ("policy.verdict == 'allow'", "end"), "no"), END, NO),
        [],
    ),
    "a denial is asked again, with its visits": (
        flow(node("p", "policy-check", ("policy.verdict == 'deny'", "p"), "end", max_visits=2), END),
        [f"{DENIED}; by the path p, p, end (p to p by policy.verdict == 'deny'; p to end by otherwise)"],
    ),
    "the other verdict is read": (
        flow(node("p", "policy-check", ("policy.verdict == 'deny'", "end"), "no"), END, NO),
        [f"{DENIED}; by the path p, end (p to end by policy.verdict == 'deny')"],
    ),
    "a draft that failed is drafted and checked again": (
        flow(
            node("p", "policy-check", ("policy.verdict == 'deny'", "no"), "a"),
            node("a", "slm-answer", "k", max_visits=2),
            node("k", "output-check", ("checks.failed", "a"), ("checks.failed", "no"), "end"),
            END,
            NO,
        ),
        [],
    ),
    "and goes out when its visits are used up": (
        flow(
            node("p", "policy-check", ("policy.verdict == 'deny'", "no"), "a"),
            node("a", "slm-answer", "k", max_visits=2),
            node("k", "output-check", ("checks.failed", "a"), "end"),
            END,
            NO,
        ),
        [
            (
                f"{FAILED}; by the path p, a, k, a, k, end (p to a by otherwise; k to a by checks.failed; "
                "k to end by otherwise)"
            )
        ],
    ),
    "silence is looked at only where the verdict is forgotten": (
        flow(
            node("h", "human-interrupt", ("approval.verdict == 'reject'", "no"), "late"),
            node("late", "x", ("approval.verdict == 'timeout'", "no"), "end"),
            END,
            NO,
        ),
        [f"{REJECTED}; by the path h, late, end (h to late by otherwise; late to end by otherwise)"],
    ),
    "an edit is sent": (
        flow(node("h", "human-interrupt", ("approval.verdict in ['edit', 'approve']", "end"), "no"), END, NO),
        [],
    ),
}


@pytest.mark.parametrize("shape", HEEDLESS)
def test_a_verdict_is_heeded(shape: str) -> None:
    drawn, expected = HEEDLESS[shape]
    problems = [each for each in proofs.prove(drawn, [], [], known, LISTED) if each.severity == "error"]
    assert told(problems) == [f"SG134 guarantee broken: {each}" for each in expected]


def test_a_broken_built_in_guarantee_has_a_place_and_a_mend() -> None:
    place = Place("workflow.yaml", 7, 3)
    gate = replace(node("p", "policy-check", "x"), place=place)
    drawn = flow(gate, node("x", "retrieve", "end"), END)
    [problem] = proofs.prove(drawn, [], [], known, LISTED)
    assert problem.place == place
    assert problem.hint == (
        "Branch from 'p' where policy.verdict == 'deny', to nodes that do not lead to 'end'; "
        "or waive 'denials-hold' with a reason"
    )


def test_where_asks_only_of_runs_that_leave_so() -> None:
    drawn = flow(node("a", "output-check", ("checks.failed", "ask"), "end"), node("ask", "x", "end"), END)
    failed = Guarantee(every=("output-check",), where="checks.failed", reaches=("x",))
    assert prove(drawn, [failed], [], known, LISTED) == []
    passed = Guarantee(every=("output-check",), where="!checks.failed", reaches=("x",))
    assert told(prove(drawn, [passed], [], known, LISTED)) == [
        (
            "SG134 guarantee broken: every output-check where !checks.failed reaches x; by the path a, end "
            "(a to end by otherwise)"
        )
    ]


def test_where_holds_at_an_end_too() -> None:
    drawn = flow(node("a", "output-check", "end"), END)
    never = Guarantee(every=("respond",), where="checks.failed && !checks.failed", reaches=("x",))
    assert prove(drawn, [never], [], known, LISTED) == []
    may = Guarantee(every=("respond",), where="checks.failed", reaches=("x",))
    assert [problem.code for problem in prove(drawn, [may], [], known, LISTED)] == ["SG134"]


def test_waivers() -> None:
    drawn = flow(node("a", "slm-answer", "k"), node("k", "output-check", "end"), node("end", "respond"))
    assert prove(drawn, [], [Waiver("policy-first", "a public FAQ: everyone may ask everything")], known) == []
    codes = [problem.code for problem in prove(drawn, [], [Waiver("policy-first", " ")], known)]
    assert codes == ["SG135", "SG134"]
    [unknown, _] = prove(drawn, [], [Waiver("policy-frist", "why not")], known)
    assert (unknown.code, unknown.suggestion) == ("SG135", "policy-first")


def test_a_stated_guarantee_is_not_told_twice() -> None:
    drawn = flow(node("a", "slm-answer", "k"), node("k", "output-check", "end"), node("end", "respond"))
    stated = Guarantee(no=("slm-answer", "llm-synthesize", "call-tool"), without=("policy-check",))
    assert len(prove(drawn, [stated], [], known)) == 1


@pytest.mark.slow
def test_two_hundred_nodes_and_forty_intents_evaluate_each_condition_a_few_times() -> None:
    middle = [
        node(
            f"n{index}",
            "x",
            (f"intent.risk == 'high' && u.x{index}", f"n{min(198, index + 3)}"),
            (f"intent.label == 'i{index % 40}'", f"n{max(1, index - 5)}"),
            f"n{index + 1}",
            max_visits=2 if index % 3 == 0 else None,
        )
        for index in range(1, 199)
    ]
    drawn = flow(
        node("n0", "classify", "n1"),
        *middle,
        node("n199", "respond"),
        intents={f"i{index}": {"risk": ("low", "high")[index % 2]} for index in range(40)},
    )
    asked = Counter[str]()

    class Counting(type(known)):
        def __call__(self, condition: str, facts: Mapping[str, object], /) -> bool | None:
            asked[condition] += 1
            return super().__call__(condition, facts)

    problems = prove(drawn, STATED, [], Counting())
    assert any(problem.code == "SG134" for problem in problems)
    # once for each intent, or before any is known, whatever the routes and the guarantees
    assert len(asked) > 200
    assert max(asked.values()) <= 41


@pytest.mark.parametrize(
    ("guarantee", "nothing"),
    [
        (Guarantee(no=("respond",), without=("human-interrupt",), after=("summarize",)), "no node that is summarize"),
        (Guarantee(every=("extract",), reaches=("respond",)), "no node that is extract"),
        (Guarantee(no=("respnd",), without=("human-interrupt",)), "no node that is respnd"),
        (Guarantee(no=("respond",), without=("output-check",), when="intent.risk == 'medium'"), "never holds"),
    ],
)
def test_a_guarantee_that_asks_nothing_is_a_warning(guarantee: Guarantee, nothing: str) -> None:
    (problem,) = prove(helpdesk(), [guarantee], [], known)
    assert (problem.code, problem.severity) == ("SG137", "warning")
    assert nothing in problem.message


def test_a_guarantee_that_may_be_asked_is_none() -> None:
    asked = Guarantee(no=("respond",), without=("human-interrupt",), when="intent.risk == 'high'")
    assert prove(helpdesk(), [asked], [], known) == []
