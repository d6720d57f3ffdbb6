"""What an index may return follows from the policies that decide on each document."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.policies.cedar.engine import CedarEngine, load_engine
from sluicegate.policies.cedar.entities import RANKS
from sluicegate.policies.cedar.readable import ReadFilters
from sluicegate.policies.cedar.sources import PolicyFile, policy_files
from sluicegate.services import ReadFilter
from sluicegate.state import Principal

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(["it", "hr", "everyone", "alice", "a:b", 'q"', "Ⅷ"])
PRINCIPALS = st.builds(
    lambda name, roles, groups, clearance: Principal(id=name, roles=roles, groups=groups, clearance=clearance),
    NAMES, st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3), st.sampled_from([*RANKS]),
)  # fmt: skip
LABELS = st.one_of(st.just("everyone"), st.builds("{}:{}".format, st.sampled_from(["user", "role", "group"]), NAMES))
DOCUMENTS = st.fixed_dictionaries(
    {"id": NAMES, "readers": st.lists(LABELS, max_size=3), "classification": st.sampled_from([*RANKS])},
    optional={"index": NAMES},
)
OWN = """
@id("own.contractors")
forbid (principal in Role::"hr", action == Action::"read_document", resource) when { resource.classification >= 2 };
@id("own.index")
forbid (principal, action == Action::"read_document", resource) when { resource has index && resource.index == "hr" }
unless { principal in Group::"hr" };
@id("own.auditors")
permit (principal in Role::"it", action == Action::"read_document", resource) when { resource.classification < 2 };
"""


def admitted(readable: ReadFilter, document: dict[str, Any]) -> bool:
    named = readable["labels"] is None or bool({*readable["labels"]} & {*document["readers"]})
    return named and RANKS[document["classification"]] <= readable["max_rank"]


@given(PRINCIPALS, DOCUMENTS)
def test_base_filter_and_policies_agree(principal: Principal, document: dict[str, Any]) -> None:
    reading = ReadFilters(BASE)
    readable = reading.readable(principal)
    assert admitted(readable, document) == reading.permits(principal, document)


@given(PRINCIPALS, DOCUMENTS)
def test_own_policies_shape_the_filter_too(principal: Principal, document: dict[str, Any]) -> None:
    """Whatever the policies allow gets through the filter, whatever they deny is stopped by `permits`."""
    reading = ReadFilters(WITH_OWN)
    readable = reading.readable(principal, document.get("index", ""))
    permitted = WITH_OWN.decide(principal, "read_document", {"type": "Document", **document}, {}).allowed
    assert (admitted(readable, document) and readable["permits"](document)) == permitted


BASE = load_engine()
WITH_OWN = CedarEngine([*policy_files(), PolicyFile("own.cedar", OWN)])


def test_a_document_cannot_pretend_to_be_another_type() -> None:
    document = {"type": "Workflow", "id": "d", "readers": [], "classification": "public"}
    assert not ReadFilters(BASE).permits({"id": "a", "roles": [], "groups": [], "clearance": "restricted"}, document)


def test_without_policies_nothing_is_readable() -> None:
    readable = ReadFilters(CedarEngine([])).readable({"id": "a", "roles": [], "groups": [], "clearance": "restricted"})
    assert readable["labels"] == []
    assert readable["max_rank"] == -1
