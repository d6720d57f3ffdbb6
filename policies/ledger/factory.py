"""Chooses the ledger: the home's file, or the server that machines share."""

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import configured

__all__ = ["open_ledger"]


def open_ledger(
    budget: BudgetConfig | None = None, *, switch: KillSwitch | None = None, look: bool = False
) -> BudgetLedger:
    """The ledger of the home, or of the server that machines share; with `look`, to show a file that may be on a
    read-only disk."""
    if server := configured():
        return PostgresLedger(server, budget, switch=switch)
    return SqliteLedger(budget, switch=switch, look=look)
