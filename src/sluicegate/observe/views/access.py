"""Access to runs: policy decides (action ``see_trace``), on the requester as the trace names them."""

from collections.abc import Mapping
from typing import Any

from sluicegate.errors import RunError
from sluicegate.observe.tracing.masking import Masking
from sluicegate.services import PolicyEngine
from sluicegate.state import Principal

__all__ = ["may_see", "must_see"]


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
