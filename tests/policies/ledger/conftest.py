"""A clock that is set, and ledgers over either kind of store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.policies.config import BudgetConfig
from sluicegate.policies.ledger.ledger import BudgetLedger, SqliteLedger
from sluicegate.policies.ledger.postgres import PostgresLedger
from sluicegate.storage.postgres import server
from tests.support.fan_outs import NOON


class Clock:
    def __init__(self, at: float = NOON) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Any]:
    """Makes ledgers over one store of either kind."""
    made = list[BudgetLedger]()
    url = request.getfixturevalue("postgres") if request.param == "postgres" else ""

    def opened(**budget: Any) -> BudgetLedger:
        config = BudgetConfig(**budget)
        if url:
            made.append(PostgresLedger(server(url), config, now=clock))
        else:
            made.append(SqliteLedger(config, tmp_path / "ledger.sqlite", now=clock))
        return made[-1]

    yield opened
    for ledger in made:
        ledger.close()
