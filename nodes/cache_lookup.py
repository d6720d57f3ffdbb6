"""`cache-lookup`: was the same asked before, by someone who sees the same, of the same workflow and documents?"""

from typing import Any

from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.registry import Node, NodeKind
from sluicegate.policies.cache import answer_key
from sluicegate.services import Services
from sluicegate.state import CacheLookup, State

__all__ = ["CACHE_LOOKUP"]


def _make(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def cache_lookup(state: State, services: Services) -> dict[str, Any]:
        facts, principal = services.workflow, state["principal"]
        key = answer_key(
            digest=facts.digest,
            request=state["request"]["text"],
            visible=[services.retriever.visible(index, principal) for index in facts.indexes],
            versions=[services.retriever.version(index) for index in facts.indexes],
        )
        cached = services.cache.get(key) if facts.cache_ttl_s else None
        lookup: CacheLookup = {"hit": cached is not None, "key": key, "age_s": cached.age_s if cached else 0.0}
        if cached is None:
            return {"cache": lookup}
        return {"cache": lookup, "answer": cached.value["answer"], "documents": cached.value["documents"]}

    return cache_lookup


CACHE_LOOKUP = NodeKind(
    name="cache-lookup",
    doc="Serve the answer to an equal request of an equal reader, as long as nothing it rests on has changed.",
    settings=NoSettings,
    make=_make,
    writes=frozenset({"cache", "answer", "documents"}),
    effects=frozenset({"looks-up"}),
)
