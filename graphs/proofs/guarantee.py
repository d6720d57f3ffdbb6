"""What a guarantee says, and those that every workflow gives."""

from dataclasses import dataclass

from sluicegate.errors import Place
from sluicegate.graphs.proofs.flow import FlowNode

__all__ = ["BUILT_IN", "Guarantee", "Waiver", "is_any", "widened"]


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A property of every run. Nodes are named by kind or by effect.

    With `no` and `without`: no node of `no` is reached without having passed one of `without`; given `after`, this is
    required only, and again, after each node of `after`; with an empty `without`, for good. With `every` and `reaches`:
    a run that visits a node of `every` visits one of `reaches` later, before it ends.
    """

    no: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    when: str | None = None
    """A CEL condition that no node changes; the guarantee is proved for the intents for which it may hold."""
    where: str | None = None
    """A CEL condition as a run leaves a node of `after` or `every`; where it does not hold, nothing is required."""
    every: tuple[str, ...] = ()
    reaches: tuple[str, ...] = ()
    unless_mended: bool = False
    """Also enough: a new draft, and then a node of `after` with at least the guards of the one that asked for it, which
    the run leaves without `where`. Proved apart for each set of guards."""
    guards: frozenset[str] = frozenset()
    """With `unless_mended`: the set that this proof is about; only nodes with all of these guards are in `after`."""
    since: str | None = None
    """A CEL condition as a run leaves a node of `without`; only from there on does `after` count."""
    name: str = ""
    """Its name in waivers; only built-in guarantees have one."""
    hint: str = ""
    """How to mend a graph that breaks it; `{owing}` is the node after which something is required, `{last}` the one
    that must not be reached. By default made of `without` and `where`."""
    place: Place | None = None
    text: str = ""
    """As the config words it."""

    def __str__(self) -> str:
        if self.text:
            return self.text
        where = f" where {self.where}" if self.where else ""
        if self.every:
            said = f"every {' or '.join(self.every)}{where} reaches {' or '.join(self.reaches)}"
        else:
            said = f"no {' or '.join(self.no)} without {' or '.join(self.without)}"
            said += f" after {' or '.join(self.after)}{where}" if self.after else ""
        return said + (f" when {self.when}" if self.when else "")


@dataclass(frozen=True, slots=True)
class Waiver:
    """A built-in guarantee that a workflow waives, with a written reason."""

    guarantee: str
    reason: str
    place: Place | None = None


_APPROVED = "approval.verdict in ['approve', 'edit']"

_CONSEQUENCES = ("generates", "generates-answer", "looks-up", "calls-tool", "sends")

BUILT_IN = (
    Guarantee(
        no=("generates", "generates-answer", "looks-up", "calls-tool"),
        without=("decides-policy",),
        name="policy-first",
        text="no model answers, no cached answer is looked up and no tool is called before a policy-check",
    ),
    Guarantee(
        no=("sends",),
        # an answer of the requester takes the draft away
        without=("checks", "asks-requester"),
        after=("generates-answer",),
        name="checked-answers",
        hint="Put an output-check node on this path, or make one of its branches impossible",
        text="no generated answer is sent before an output-check",
    ),
    Guarantee(
        no=("generates", "generates-answer", "calls-tool", "sends"),
        after=("decides-policy",),
        where="policy.verdict == 'deny'",
        name="denials-hold",
        text="a request denied by a policy-check gets no model output, no tool call and no answer",
    ),
    Guarantee(
        no=("sends",),
        without=("asks-human", "asks-requester"),
        after=("checks",),
        where="checks.failed",
        unless_mended=True,
        name="failures-hold",
        hint="Let what {owing!r} fails be drafted again and pass {owing!r}, or a check with at least its guards, or be "
        "put to a human-interrupt, before {last!r}",
        text="a draft that failed its output-check is not sent unless a human-interrupt comes first",
    ),
    Guarantee(
        no=("sends", "calls-tool"),
        after=("asks-human",),
        where=f"!({_APPROVED})",
        name="rejections-hold",
        text="what a person rejected, or nobody decided in time, is not sent and calls no tool",
    ),
    Guarantee(
        no=("sends", "calls-tool"),
        without=("asks-human",),
        after=("changes-approved",),
        since=_APPROVED,
        name="approvals-cover",
        hint="Put {owing!r} before the human-interrupt, or another human-interrupt between {owing!r} and {last!r}",
        text="what a person approved is what is sent and what tools are called with",
    ),
    Guarantee(
        no=_CONSEQUENCES,
        without=("decides-policy",),
        after=("asks-requester",),
        name="replies-decided",
        hint="Put a policy-check between {owing!r} and {last!r}",
        text="after the requester's answer to an ask, no model answers, no cached answer is looked up, no tool is "
        "called and nothing is sent before another policy-check",
    ),
    Guarantee(
        no=_CONSEQUENCES,
        without=("classifies",),
        after=("asks-requester",),
        name="replies-classified",
        hint="Put a classify between {owing!r} and {last!r}",
        text="after the requester's answer to an ask, no model answers, no cached answer is looked up, no tool is "
        "called and nothing is sent before the request is classified again",
    ),
)
"""Proved for every workflow that has such nodes."""

_LIKE = {"respond": "sends", "call-tool": "calls-tool"}


def widened(names: tuple[str, ...]) -> tuple[str, ...]:
    """What is forbidden to `respond` and to `call-tool` is forbidden to every node that does the same."""
    return (*names, *(_LIKE[name] for name in names if name in _LIKE))


def is_any(node: FlowNode, names: tuple[str, ...]) -> bool:
    return node.kind in names or not node.effects.isdisjoint(names)
