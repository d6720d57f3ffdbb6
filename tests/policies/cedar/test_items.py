"""Policies that decide on each item of a list by what it holds."""

import math
from typing import Any

import pytest

from sluicegate.policies.cedar.checking import check
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.sources import PolicyFile, base_schema, policy_files
from sluicegate.state import Principal

ANN: Principal = {"id": "ann", "roles": ["clerk"], "groups": [], "clearance": "internal"}
PAY = {"type": "Tool", "id": "pay"}
SMALL = """
@id("own.large")
@reason("a clerk pays at most 500")
forbid (principal, action == Action::"call_tool", resource)
when { context has item && context.item.of == "positions" }
unless
{
  context.item.numbers.hasTag("amount") &&
  context.item.numbers.getTag("amount").lessThanOrEqual(decimal("500.0"))
};

@id("own.abroad")
forbid (principal, action == Action::"call_tool", resource)
when { context has item && context.item.hasTag("hotel.country") && context.item.getTag("hotel.country") != "CH" };
"""


def called(parts: Any, **item: Any) -> Any:
    context = {"intent": "", "risk": "low", "item": {"of": "positions", "index": 0, "parts": parts, **item}}
    engine = CedarEngine([*policy_files(), PolicyFile("own.cedar", SMALL)])
    return engine.decide(ANN, "call_tool", PAY, context)


@pytest.mark.parametrize(
    ("parts", "rules"),
    [
        ({"amount": 499.9999}, ("base.tool",)),
        ({"amount": 500}, ("base.tool",)),
        ({"amount": "500.00"}, ("base.tool",)),
        ({"amount": 500.01}, ("own.large",)),
        ({"amount": "1'200"}, ("own.large",)),
        ({"amount": True}, ("own.large",)),
        ({}, ("own.large",)),
        ({"amount": 1, "hotel": {"country": "CH", "nights": 2}, "notes": ["a"], "left": None}, ("base.tool",)),
        ({"amount": 1, "hotel": {"country": 'FR", "x'}}, ("own.abroad",)),
    ],
)
def test_what_an_item_holds_decides(parts: Any, rules: tuple[str, ...]) -> None:
    assert called(parts).rules == rules


def test_a_policy_is_about_the_items_of_one_list() -> None:
    assert called({}, of="notes").allowed
    same = called({"amount": 1}, index=7)
    assert (same.allowed, same.errors) == (True, ())


@pytest.mark.parametrize("amount", [1e20, -1e300, math.inf])
def test_a_number_that_cedar_cannot_hold_is_a_deny(amount: float) -> None:
    decision = called({"amount": amount})
    assert not decision.allowed
    assert decision.errors


def test_a_part_that_no_policy_asks_for_first_is_an_error_at_its_place() -> None:
    text = SMALL.replace('context.item.hasTag("hotel.country") && ', "")
    _, problems = check([PolicyFile("own.cedar", text)], base_schema())
    (fault,) = problems
    assert fault.place is not None
    assert (fault.place.line, 'access to tag `"hotel.country"`' in fault.message) == (14, True)
