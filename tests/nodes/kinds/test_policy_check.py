"""The node that asks the policies, and the hour that they see."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from sluicegate.nodes.kinds.policy_check import POLICY_CHECK, PolicyCheck
from sluicegate.services import Decision
from sluicegate.state import Principal
from tests.support.answering import state
from tests.support.fakes import FakePolicy, services


class Recording(FakePolicy):
    def decide(
        self, principal: Principal, action: str, resource: Mapping[str, Any], context: Mapping[str, Any]
    ) -> Decision:
        self.context = context
        return super().decide(principal, action, resource, context)


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 23), ("Europe/Zurich", 1), ("America/New_York", 19)])
async def test_the_hour_is_that_of_the_workflow_s_zone(zone: str, hour: int) -> None:
    policy = Recording()
    given = services(policy=policy, now=lambda: datetime(2026, 7, 1, 23, 30, tzinfo=UTC))
    given = replace(given, workflow=replace(given.workflow, time_zone=zone))
    await POLICY_CHECK.make("gate", PolicyCheck())(state(given), given)
    assert policy.context["hour"] == hour
