"""What is proved over branches that run side by side, case by case."""

from dataclasses import replace

import pytest

from sluicegate.graphs.proofs import Guarantee, Semantics, broken, prove
from sluicegate.graphs.proofs.fanout.forks import branches_of, in_sequence, prove_forks
from sluicegate.graphs.proofs.flow import Edge, Flow, FlowNode
from sluicegate.graphs.proofs.shape import most_steps
from tests.support.proof_flows import LISTED, flow, known, node

UNCHECKED = Guarantee(no=("n",), without=("w",))
AGAIN = Guarantee(no=("n",), without=("w",), after=("s",))


def fork(name: str, join: str, *firsts: str) -> FlowNode:
    return FlowNode(name, "parallel", edges=tuple(map(Edge, firsts)), join=join)


def listing(name: str, does: str) -> tuple[FlowNode, FlowNode]:
    """A branch that goes over a list."""
    body = replace(node(f"{name}i", does, name), within=name, on_error=Edge(name))
    return replace(node(name, "x", "j"), do=body.name), body


def side_by_side(*nodes: FlowNode, before: str = "x", join: str = "x") -> Flow:
    """Branches that begin with `a` and with `b`, between a node of one kind and a join of another."""
    return flow(
        node("p", before, "f"), fork("f", "j", "a", "b"), *nodes, node("j", join, "end"), node("end", "respond")
    )


def path(drawn: Flow, guarantee: Guarantee) -> list[str] | None:
    found = broken(Semantics(drawn, known, LISTED), guarantee)
    return found and [hop.node for hop in found.route]


@pytest.mark.parametrize(
    ("guarantee", "drawn", "breach"),
    [
        # what one branch has passed does not count for its sibling, whatever their order
        (UNCHECKED, side_by_side(node("a", "w", "j"), node("b", "n", "j")), ["p", "f", "b"]),
        (UNCHECKED, side_by_side(node("a", "n", "j"), node("b", "w", "j")), ["p", "f", "a"]),
        # what stands before the fork does, in each
        (UNCHECKED, side_by_side(node("a", "n", "j"), node("b", "n", "j"), before="w"), None),
        # what every way of one branch has passed counts after the join
        (UNCHECKED, side_by_side(node("a", "w", "j"), node("b", "x", "j"), join="n"), None),
        (UNCHECKED, side_by_side(node("a", "x", "j"), node("b", "w", "j"), join="n"), None),
        (
            UNCHECKED,
            side_by_side(
                node("a", "x", ("spend.stopped", "j"), "c"), node("c", "w", "j"), node("b", "x", "j"), join="n",
            ),
            ["p", "f", "a", "b", "j"],
        ),
        # a sibling may make something owed at any moment, and what is paid beside it may have been paid before
        (AGAIN, side_by_side(node("a", "s", "j"), node("b", "w", "c"), node("c", "n", "j")), ["p", "f", "b", "c"]),
        (AGAIN, side_by_side(node("a", "s", "j"), node("b", "w", "j"), join="n"), ["p", "f", "a", "b", "j"]),
        (AGAIN, side_by_side(node("a", "s", "c"), node("c", "w", "j"), node("b", "x", "j"), join="n"), None),
        (AGAIN, side_by_side(node("a", "w", "j"), node("b", "x", "j"), before="s", join="n"), None),
        # a list may be empty, so what is done for its items counts for nothing, and forbids what follows it
        (UNCHECKED, side_by_side(*listing("a", "w"), node("b", "x", "j"), join="n"), ["p", "f", "a", "b", "j"]),
        (UNCHECKED, side_by_side(*listing("a", "n"), node("b", "w", "j")), ["p", "f", "a", "ai"]),
        (UNCHECKED, side_by_side(*listing("a", "n"), node("b", "x", "j"), before="w"), None),
        (AGAIN, side_by_side(*listing("a", "s"), node("b", "x", "j"), join="n"), ["p", "f", "a", "ai", "a", "b", "j"]),
        (AGAIN, side_by_side(*listing("a", "s"), node("b", "w", "c"), node("c", "n", "j")), ["p", "f", "b", "c"]),
    ],
)  # fmt: skip
def test_guarantees(guarantee: Guarantee, drawn: Flow, breach: list[str] | None) -> None:
    assert path(drawn, guarantee) == breach


def test_branches_that_fail_have_passed_nothing_and_may_have_done_anything() -> None:
    drawn = side_by_side(node("a", "w", "j"), node("b", "s", "j"), before="s")
    failing = replace(drawn, nodes={
        **drawn.nodes, "f": replace(drawn.nodes["f"], on_error=Edge("sorry")), "sorry": node("sorry", "n"),
    })  # fmt: skip
    assert path(failing, UNCHECKED) == ["p", "f", "sorry"]
    assert path(failing, AGAIN) == ["p", "f", "sorry"]


def test_the_path_says_which_branch_it_is_in_and_what_runs_beside_it() -> None:
    drawn = side_by_side(node("a", "s", "j"), node("b", "w", "c"), node("c", "n", "j"))
    messages = [each.message for each in prove(drawn, [AGAIN], [], known, LISTED) if each.code == "SG134"]
    assert messages == [
        "guarantee broken: no n without w after s; by the path p, f, [branch b of f: b, c], while a runs beside it"
    ]


def test_a_field_that_a_branch_surely_writes_is_known_after_the_join() -> None:
    ends = (node("yes", "respond"), node("no", "refuse"))
    join = node("j", "x", ("checks.failed", "no"), ("!checks.failed", "yes"))
    a = replace(node("a", "x", "j"), always_writes=frozenset({"checks"}), writes=frozenset({"checks"}))
    for first, codes in ((a, []), (node("a", "x", "j"), ["SG132"])):
        drawn = flow(fork("f", "j", "a", "b"), first, node("b", "x", "j"), join, *ends)
        problems = prove(drawn, [], [], known, LISTED)
        assert [each.code for each in problems if each.severity == "error"] == codes


def test_a_branch_that_may_be_used_up_when_its_fork_begins_again() -> None:
    drawn = flow(
        fork("f", "j", "a", "b"), node("a", "x", "j", max_visits=1), node("b", "x", "j"),
        node("j", "x", ("spend.stopped", "f"), "end"), node("end", "respond"),
    )  # fmt: skip
    bounded = replace(drawn, nodes={**drawn.nodes, "f": replace(drawn.nodes["f"], max_visits=1)})
    assert "SG132" in [each.code for each in prove(bounded, [], [], known, LISTED)]


def test_branches_in_sequence() -> None:
    inner = (fork("g", "j", "x", "y"), node("x", "x", "j"), node("y", "x", "j"))
    drawn = side_by_side(node("a", "x", "g"), *inner, node("b", "x", "j"))
    assert {name: one.inside for name, one in branches_of(drawn).items()} == {
        "g": {"x", "y"}, "f": {"a", "g", "x", "y", "b"},
    }  # fmt: skip
    laid = in_sequence(drawn)
    assert [laid.nodes[name].edges[0].to for name in ("p", "f", "a", "g", "x", "y", "b", "j")] == [
        "f", "a", "g", "x", "y", "b", "j", "end",
    ]  # fmt: skip
    assert most_steps(laid) == 9
    assert prove_forks(drawn) == []
