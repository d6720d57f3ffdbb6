"""The built-in guarantees against every run of random flows, judged by the words of each guarantee on its history.

Among the nodes are ends of installed packages, writers of answers that say nothing of themselves, second gates, second
persons, checks with different guards, redrafts, tools that say what a model wrote, nodes that fail.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.graphs.proofs import BUILT_IN
from sluicegate.graphs.proofs.flow import Flow, FlowNode
from sluicegate.state import FORGOTTEN
from tests.support.proof_flows import known
from tests.support.random_flows import CALLS, GENERATES, OUTCOMES, SENDS, drawn, proved

MOST_RUNS = 4000


pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Event:
    """A node that was passed, and what it found."""

    node: FlowNode
    found: object = None
    failed: bool = False
    """It failed: it may have done the worst it can do, and it has done nothing that is required."""

    @property
    def changes(self) -> bool:
        """Something that a person approved before may be different now."""
        kinds = ("slm-answer", "extract", "cache-lookup", "outbox", "phrase", "letter", "faq", "classify")
        return self.node.kind in kinds or self.adds_words

    @property
    def adds_words(self) -> bool:
        """The requester has answered a question; the draft and every verdict are gone."""
        return self.node.kind == "ask" and not self.failed

    @property
    def drafts(self) -> bool:
        return self.node.kind in ("slm-answer", "outbox", "phrase", "letter", "faq", "say")


def broken_by(history: tuple[Event, ...], here: FlowNode) -> set[str]:
    """The guarantees that a run breaks with its next node."""
    arriving = Event(here)
    sends, calls = here.kind in SENDS, here.kind in CALLS
    makes = here.kind in GENERATES or arriving.drafts or calls
    gates = [event for event in history if event.node.kind == "policy-check"]
    people = [index for index, event in enumerate(history) if event.node.kind == "human-interrupt"]
    checks = [index for index, event in enumerate(history) if event.node.kind == "output-check"]
    # what a node drafts as it sends was checked by nobody
    drafts = [index for index, event in enumerate((*history, arriving) if sends else history) if event.drafts]
    answers = [index for index, event in enumerate(history) if event.adds_words]
    since = history[answers[-1] :] if answers else ()
    found: set[str] = set()
    if (makes or here.kind in ("cache-lookup", "faq")) and all(event.failed for event in gates):
        found.add("policy-first")
    left = drafts and not (answers and answers[-1] > drafts[-1])
    if sends and left and not any(check > drafts[-1] and not history[check].failed for check in checks):
        found.add("checked-answers")
    for kind, name in (("policy-check", "replies-decided"), ("classify", "replies-classified")):
        acts = makes or sends or here.kind in ("cache-lookup", "faq")
        if since and acts and not any(event.node.kind == kind and not event.failed for event in since):
            found.add(name)
    if (makes or sends) and any(event.found == "deny" or event.failed for event in gates):
        found.add("denials-hold")
    if (sends or calls) and any(history[person].found == "reject" for person in people):
        found.add("rejections-hold")
    if sends and any(
        (history[check].found or history[check].failed) and not _mended(history, check) for check in checks
    ):
        found.add("failures-hold")
    if (sends or calls) and people and history[people[-1]].found == "approve":
        later = (*history[people[-1] :], *([arriving] if sends else []))
        if any(event.changes for event in later):
            found.add("approvals-cover")
    return found


def _mended(history: tuple[Event, ...], failed: int) -> bool:
    """Whether a person saw what failed, an answer took it away, or a new draft passed a check of no fewer guards."""
    redrafted = False
    for event in history[failed + 1 :]:
        if event.node.kind == "human-interrupt" or event.adds_words:
            return True
        if event.node.kind in ("slm-answer", "letter"):
            redrafted = redrafted or not event.failed
        elif event.node.kind == "output-check" and event.node.guards >= history[failed].node.guards:
            if redrafted and not event.found and not event.failed:
                return True
            redrafted = False
    return False


def shortest(of: Flow) -> dict[str, int] | None:
    """How many nodes the shortest run passes that breaks each guarantee; None when there are too many runs."""
    found: dict[str, int] = {}
    waiting: deque[tuple[FlowNode, tuple[Event, ...], dict[str, object]]] = deque([(of.nodes[of.start], (), {})])
    runs = 0
    while waiting:
        here, history, facts = waiting.popleft()
        runs += 1
        if runs > MOST_RUNS:
            return None
        for name in broken_by(history, here):
            found.setdefault(name, len(history) + 1)
        for event, after in _passed(here, facts):
            after = _known_after(event, after)
            passed = (*history, event)
            visits = Counter(each.node.name for each in passed)
            for stopped in (False, True):
                taken = _branch(of, here, {**after, "spend.stopped": stopped}, visits)
                if taken is not None and (taken, passed, after) not in waiting:
                    waiting.append((taken, passed, after))
        if here.on_error:
            passed = (*history, Event(here, failed=True))
            limit, target = of.nodes[here.on_error.to].max_visits, here.on_error.to
            if limit is None or sum(each.node.name == target for each in passed) < limit:
                waiting.append((of.nodes[target], passed, facts))
    return found


def _passed(here: FlowNode, facts: dict[str, object]) -> Iterator[tuple[Event, dict[str, object]]]:
    for found, fields in OUTCOMES.get(here.kind, ((None, {}),)):
        yield Event(here, found), {**facts, **fields}


def _known_after(event: Event, facts: dict[str, object]) -> dict[str, object]:
    if not event.adds_words:
        return facts
    return {name: value for name, value in facts.items() if name.partition(".")[0] not in FORGOTTEN}


def _branch(of: Flow, here: FlowNode, facts: dict[str, object], visits: Counter[str]) -> FlowNode | None:
    for edge in here.edges:
        limit = of.nodes[edge.to].max_visits
        free = limit is None or visits[edge.to] < limit
        if free and (edge.condition is None or known(edge.condition, facts)):
            return of.nodes[edge.to]
    return None


@settings(max_examples=400)
@given(st.randoms(use_true_random=False), st.booleans())
def test_a_built_in_guarantee_is_proved_exactly_when_no_run_breaks_it(random: Random, failing: bool) -> None:
    """Where nodes branch on what they have just found."""
    of = drawn(random, of_others=False, failing=failing)
    breaches = shortest(of)
    if breaches is not None:
        assert proved(of) == breaches


@settings(max_examples=300)
@given(st.randoms(use_true_random=False), st.booleans())
def test_what_is_proved_no_run_breaks(random: Random, failing: bool) -> None:
    """Wherever nodes branch on what others had found, too."""
    of = drawn(random, of_others=True, failing=failing)
    breaches = shortest(of)
    if breaches is not None:
        assert breaches.keys() <= proved(of).keys()


def test_false_alarms_are_few() -> None:
    """A verdict that is read again at a later node is unknown there, so some flows are refused that no run breaks."""
    alarms, compared, broken_flows = 0, 0, Counter[str]()
    for seed in range(600):
        of = drawn(Random(seed), of_others=True)
        breaches = shortest(of)
        if breaches is None:
            continue
        refused = proved(of).keys()
        compared += len(BUILT_IN)
        broken_flows.update(breaches)
        alarms += len(refused - breaches.keys())
    assert compared == 4800
    assert broken_flows.keys() == {one.name for one in BUILT_IN}
    assert min(broken_flows.values()) > 20
    assert alarms <= 0.05 * compared
