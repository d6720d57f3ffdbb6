"""Which ledger counts: the home's file, or the server that machines share."""

import os

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import URL

__all__ = ["open_ledger"]


def open_ledger(
    budget: BudgetConfig | None = None, *, url: str = "", switch: KillSwitch | None = None, look: bool = False
) -> BudgetLedger:
    """The ledger of the home, or of the PostgreSQL server at `url` (``postgresql://…``), by default the one that
    `SLUICEGATE_LEDGER_URL` names, else the one that all is shared on; with `look`, to show a file that may be on a
    read-only disk."""
    url = url or os.environ.get("SLUICEGATE_LEDGER_URL", "") or os.environ.get(URL, "")
    if not url:
        return SqliteLedger(budget, switch=switch, look=look)
    return PostgresLedger(url, budget, switch=switch)
