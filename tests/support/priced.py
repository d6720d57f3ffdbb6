"""Models with prices, and a ledger's sums: for runs under a budget."""

from dataclasses import dataclass, field, replace
from typing import Any

from sluicegate.policies.ledger.ledger import BudgetLedger
from sluicegate.services import Completion, ModelRequest
from tests.support.mapping import Echo

PRICES = {"llm": 0.00001, "slm": 0.0}


@dataclass
class Priced(Echo):
    """Tokens of each role have a price; a call costs what its words and its longest answer do."""

    prices: dict[str, float] = field(default_factory=lambda: {**PRICES})

    async def chat(self, request: ModelRequest) -> Completion:
        made = await super().chat(request)
        prompt = sum(self.tokens(message.content) for message in request.messages)
        usd = self.price(request.role, prompt, request.max_tokens)
        return replace(made, usd=usd, prompt_tokens=prompt, completion_tokens=request.max_tokens)

    def price(self, role: str, prompt_tokens: int, completion_tokens: int) -> float:
        return self.prices.get(role, 0.0) * (prompt_tokens + completion_tokens)

    @property
    def large(self) -> int:
        """How often the large model was asked."""
        return sum(role == "llm" for role, _ in self.asked)


def sums(ledger: BudgetLedger) -> dict[str, Any]:
    """Micro-dollars and tokens that all reservations hold, and how many calls there were."""
    with ledger.store.writing() as execute:
        rows = execute("SELECT * FROM calls")
        totals = execute("SELECT * FROM totals WHERE scope LIKE 'run %'")
    held = [row for row in rows if row["state"] == "held"]
    return {
        "held": sum(int(row["held_micros"]) for row in totals),
        "held_tokens": sum(int(row["held_tokens"]) for row in totals),
        "reservations": len(held),
        "calls": sum(row["state"] == "settled" for row in rows),
        "spent": sum(int(row["spent_micros"]) for row in totals),
    }
