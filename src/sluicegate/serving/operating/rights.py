"""Who may operate workflows: the policies of each decide (action ``operate``)."""

from collections.abc import Iterable

from sluicegate.errors import RunError
from sluicegate.services import OperatorTask
from sluicegate.serving.service import Service
from sluicegate.state import Principal

__all__ = ["concerned_by", "may_operate", "must_operate"]


def concerned_by(system: str, services: Iterable[Service]) -> list[Service]:
    """Whose policies decide on what concerns this system: the workflow of this name, or else, as for a model or the
    audit log, every one that is served."""
    every = [*services]
    return [service for service in every if service.name == system] or every


def may_operate(person: Principal, task: OperatorTask, services: Iterable[Service]) -> bool:
    """Whether the policies of all of these allow it; False for none."""
    decisions = [
        service.versions.serving.runner.services.policy.decide(
            person, "operate", {"type": "Workflow", "id": service.name}, {"task": task}
        ).allowed
        for service in services
    ]
    return bool(decisions) and all(decisions)


def must_operate(person: Principal, task: OperatorTask, services: Iterable[Service]) -> None:
    """Raises `RunError` SG610 when policy does not let them."""
    if not may_operate(person, task, services):
        raise RunError(
            "SG610", f"policy does not let {person['id']} do this ({task})", hint="Ask somebody with the role operator"
        )
