"""Access to runs: policy decides (action ``see_trace``), on the requester as the trace names them."""

from collections.abc import Iterable, Mapping
from typing import Any

from sluicegate.errors import RunError
from sluicegate.observe.tracing.masking import Masking
from sluicegate.observe.tracing.reading.filters import Sight
from sluicegate.services import PolicyEngine
from sluicegate.state import Principal

__all__ = ["may_see", "must_see", "sees_all", "sight_of"]


def may_see(run: Mapping[str, Any], principal: Principal, policy: PolicyEngine, masking: Masking) -> bool:
    """True when policy lets `principal` see the row `run` of the store."""
    own = run["user"] in (principal["id"], masking.user(principal["id"]))
    requester = principal["id"] if own else run["user"]
    resource = {"type": "Run", "id": run["run_id"], "requester": requester}
    return policy.decide(principal, "see_trace", resource, {}).allowed


def must_see(run: Mapping[str, Any], principal: Principal, policy: PolicyEngine, masking: Masking) -> None:
    """Raises `RunError` SG610 when policy does not let `principal` see `run`."""
    if not may_see(run, principal, policy, masking):
        raise RunError(
            "SG610",
            f"policy does not let {principal['id']} see run {run['run_id']}",
            hint="Use --as with the requester, or with the role operator or auditor",
        )


def sees_all(principal: Principal, policy: PolicyEngine, masking: Masking) -> bool:
    """Whether policy lets them see every run, whoever asked for it."""
    # of a run that anybody but them asked for
    return may_see({"run_id": "any", "user": f"not {principal['id']}"}, principal, policy, masking)


def sight_of(
    workflow: str, requesters: Iterable[str], principal: Principal, policy: PolicyEngine, masking: Masking
) -> Sight:
    """Where to look for runs of a workflow that `principal` may see: one question per requester instead of one per run.

    `requesters` are those of the store. A policy may name single runs: each that is found is to be asked about with
    `may_see`; one that only such a policy permits is found by its id alone.
    """
    if sees_all(principal, policy, masking):
        return Sight(workflow)
    seen = [user for user in requesters if may_see({"run_id": "any", "user": user}, principal, policy, masking)]
    return Sight(workflow, seen)
