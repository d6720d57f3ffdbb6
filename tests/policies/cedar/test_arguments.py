"""Policies on what a tool is called with: decided on it where it is known, and loosened where it is not."""

import pytest

from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.sources import PolicyFile
from sluicegate.policies.cedar.whatever import whatever_the_arguments
from sluicegate.state import Principal

ANN: Principal = {"id": "ann", "roles": ["clerk"], "groups": [], "clearance": "internal"}
PAY = {"type": "Tool", "id": "pay"}
POLICIES = """
@id("pay.small")
permit (principal in Role::"clerk", action == Action::"call_tool", resource == Tool::"pay")
when {
  context has arguments && context.arguments.numbers.hasTag("amount") &&
  context.arguments.numbers.getTag("amount").lessThan(decimal("100.0"))
}
unless { context.risk == "high" };

@id("pay.not-abroad")
forbid (principal, action == Action::"call_tool", resource)
when {
  context has arguments && context.arguments.hasTag("to.country") && context.arguments.getTag("to.country") != "CH"
};
"""


def engine(text: str = POLICIES) -> CedarEngine:
    return CedarEngine([PolicyFile("pay.cedar", text)])


def context(risk: str = "low", **arguments: object) -> dict[str, object]:
    given = {"arguments": {"of": "pay", "index": 0, "parts": arguments}} if arguments else {}
    return {"intent": "pay", "risk": risk, **given}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"amount": 99.5}, True),
        ({"amount": 100}, False),
        ({"amount": "7"}, True),
        ({"amount": 7, "to": {"country": "CH"}}, True),
        ({"amount": 7, "to": {"country": "FR"}}, False),
        ({"amount": 10**30}, False),
        ({"to": {"country": "CH"}}, False),
    ],
)
def test_a_call_is_decided_on_its_arguments(arguments: dict[str, object], allowed: bool) -> None:
    assert engine().decide(ANN, "call_tool", PAY, context(**arguments)).allowed is allowed


def test_arguments_that_no_policy_asks_about_decide_nothing() -> None:
    everything = engine('@id("all") permit (principal, action == Action::"call_tool", resource);')
    assert everything.decide(ANN, "call_tool", PAY, context(amount=10**30)).allowed


def test_without_arguments_a_call_may_be_what_it_is_for_some_of_them() -> None:
    assert not engine().decide(ANN, "call_tool", PAY, context()).allowed
    loosened = CedarEngine([*whatever_the_arguments([PolicyFile("pay.cedar", POLICIES)])])
    assert loosened.decide(ANN, "call_tool", PAY, context()).allowed
    assert not loosened.decide(ANN, "call_tool", PAY, context(risk="high")).allowed, "other conditions stay"
    assert not loosened.decide({**ANN, "roles": []}, "call_tool", PAY, context()).allowed
