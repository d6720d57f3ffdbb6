"""`cache-lookup`: looks for a cached answer to an equal request of an equal reader, workflow and documents.

Identical text is looked up first. Where the workflow enables it, questions with similar embeddings come next; one is
used only when `paraphrase.difference` is certain that it asks the same.
"""

from typing import Any

from sluicegate.nodes._settings import NoSettings
from sluicegate.nodes.caching import key_of, question_of, shareable
from sluicegate.nodes.kind import Node, NodeKind
from sluicegate.policies.cache.paraphrase import difference
from sluicegate.services import Cached, Neighbour, Question, Services
from sluicegate.state import CacheLookup, State

__all__ = ["CACHE_LOOKUP"]


def _make(name: str, settings: NoSettings) -> Node:
    del name, settings

    async def cache_lookup(state: State, services: Services) -> dict[str, Any]:
        key = key_of(state, services)
        lookup: CacheLookup = {"hit": False, "key": key, "age_s": 0.0}
        if not shareable(state, services):
            return {"cache": lookup}
        cached = await services.cache.get(key)
        if cached is not None:
            lookup = {"hit": True, "key": key, "age_s": cached.age_s, "kind": "exact"}
        elif (asked := await question_of(state, services)) and (found := await _same(asked, services)):
            neighbour, cached = found
            lookup = {
                "hit": True, "key": neighbour.key, "age_s": cached.age_s,
                "kind": "semantic", "question": neighbour.text, "similarity": round(neighbour.similarity, 4),
            }  # fmt: skip
        if cached is None:
            return {"cache": lookup}
        return {"cache": lookup, "answer": cached.value["answer"], "documents": cached.value["documents"]}

    return cache_lookup


async def _same(asked: Question, services: Services) -> tuple[Neighbour, Cached] | None:
    """The nearest cached question that certainly asks the same, with its answer."""
    semantic = services.workflow.semantic
    for neighbour in await services.cache.near(asked, similarity=semantic.similarity) if semantic else ():
        if difference(asked.text, neighbour.text):
            continue
        if cached := await services.cache.get(neighbour.key, again=True):
            return neighbour, cached
    return None


CACHE_LOOKUP = NodeKind(
    name="cache-lookup",
    doc="Serve a cached answer to an equal request of an equal reader, as long as nothing it depends on has changed.",
    tells=("cache.question", "cache.similarity"),
    settings=NoSettings,
    make=_make,
    writes=frozenset({"cache", "answer", "documents"}),
    reads=frozenset(),
    effects=frozenset({"looks-up"}),
    drafts=False,  # what is cached passed its checks
)
