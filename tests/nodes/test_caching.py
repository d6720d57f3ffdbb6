"""Which answers may be cached."""

from typing import Any

from sluicegate.graphs.runtime.intake import attached
from sluicegate.nodes.caching import shareable
from tests.support.answering import state
from tests.support.fakes import services


def test_an_answer_to_a_request_with_a_table_is_neither_cached_nor_served_from_the_cache() -> None:
    given = services()
    asked: Any = {**state(given), "intent": {"label": "question", "risk": "low"}}
    assert shareable(asked, given)
    asked["request"] = {**asked["request"], "attachments": attached({"t.csv": "a\n1\n"})}
    assert not shareable(asked, given)
