"""Proofs on a workflow's graph, made before it may start; `docs/proofs.md` says what they prove and what not.

`prove` is the one entry: it returns every problem it finds, an empty list when the workflow may start. Proofs are
conservative: what they accept holds for every run, what they refuse may be a run that never happens.
"""

from collections.abc import Mapping, Sequence

from sluicegate.errors import Problem
from sluicegate.graphs.proofs.fanout.forks import prove_forks
from sluicegate.graphs.proofs.fanout.interference import prove_apart
from sluicegate.graphs.proofs.flow import Flow
from sluicegate.graphs.proofs.guarantee import BUILT_IN, Guarantee, Waiver
from sluicegate.graphs.proofs.guarantees import prove_guarantees
from sluicegate.graphs.proofs.search import Broken, Hop, broken
from sluicegate.graphs.proofs.semantics import Known, Semantics
from sluicegate.graphs.proofs.shape import prove_shape
from sluicegate.graphs.proofs.totality import prove_totality

__all__ = ["BUILT_IN", "Broken", "Guarantee", "Hop", "Known", "Semantics", "Waiver", "broken", "prove"]


def prove(
    flow: Flow,
    guarantees: Sequence[Guarantee],
    waivers: Sequence[Waiver],
    known: Known,
    domains: Mapping[str, Sequence[object]] | None = None,
) -> list[Problem]:
    """Every problem of a flow, SG130 to SG137, SG139 and SG141.

    `domains` lists, for each field that is enumerated, such as ``checks.failed``, values that stand for all the others.
    """
    if open_forks := prove_forks(flow):
        return open_forks  # where branches end is not known
    semantics = Semantics(flow, known, domains or {})
    return [
        *prove_apart(flow, known),
        *prove_shape(flow),
        *prove_totality(semantics),
        *prove_guarantees(semantics, guarantees, waivers),
    ]
