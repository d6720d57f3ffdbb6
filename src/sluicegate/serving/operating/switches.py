"""The kill switch with its record: what is switched is in the audit log, with who did it and why."""

from sluicegate.errors import NotWaitingError
from sluicegate.observe.audit.log import open_audit
from sluicegate.policies.kill_switch import KillSwitch, Switched

__all__ = ["switch_off", "switch_on"]


def switch_off(name: str, *, reason: str, by: str, once: bool = False) -> Switched:
    """Switch something off in every running process of this home. It is off even where the log cannot be written.

    `once`: refuse what is off already. Raises `BudgetError` SG502 for a name of no known kind, `RunError` SG605.
    """
    switched = KillSwitch().off(name, reason=reason, by=by, once=once)
    _record("switch.off", name, reason, by)
    return switched


def switch_on(name: str, *, reason: str, by: str, since: str | None = None) -> bool:
    """Switch it on again; False when it was not off. With `since`, only what has been off since then: raises `RunError`
    SG605 for what was switched on, or on and off again, by somebody else."""
    changed = KillSwitch().on(name, since=since)
    if since is not None and not changed:
        raise NotWaitingError(f"{name} has been switched by somebody else since", hint="Look at the switches again")
    if changed:
        _record("switch.on", name, reason, by)
    return changed


def _record(event: str, name: str, reason: str, by: str) -> None:
    log = open_audit()
    try:
        log.append(event, actor=by, facts={"name": name, "reason": reason})
    finally:
        log.close()
