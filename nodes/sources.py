"""The documents that a run's texts rest on, and who may read what rests on them.

A draft says what its sources say. So whoever is shown it, decides on it or exports it is asked for `read_document` on
every source, by the same policies that filtered them for the requester.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sluicegate.errors import RetrievalError
from sluicegate.services import Services
from sluicegate.state import NOBODY, DocumentRef, Principal, State

__all__ = ["named", "retrieved", "sources", "unreadable", "why_withheld"]


def sources(state: State) -> list[DocumentRef]:
    """Every passage that was retrieved in this run, those of earlier searches too, and every document that its draft
    cites."""
    found = {(one["id"], one["version"], one["hash"]): one for one in retrieved(state)}
    known = {(one["id"], one["version"]) for one in found.values()}
    answer = state.get("answer")
    for citation in answer["citations"] if answer else ():
        if (citation["document"], citation["version"]) not in known:
            found[citation["document"], citation["version"], ""] = {
                "id": citation["document"], "version": citation["version"], "title": "", "source": "", "score": 0.0,
                "span": citation["span"], "hash": "",
            }  # fmt: skip
    return [*found.values()]


def retrieved(state: State) -> list[DocumentRef]:
    """Every passage of this run's searches."""
    return [*state.get("earlier_documents", []), *state.get("documents", [])]


def named(attributes: Iterable[Mapping[str, Any]]) -> list[DocumentRef]:
    """Every passage that the attributes of observations name, by its id, version and, where it is known, content."""
    found: dict[tuple[str, str, str], DocumentRef] = {}
    for one in attributes:
        for document in one.get("documents", ()):
            key = (document["id"], document["version"], document.get("hash", ""))
            found[key] = {
                "id": key[0], "version": key[1], "title": "", "source": "", "score": 0.0, "span": [0, 0],
                "hash": key[2],
            }  # fmt: skip
    return [*found.values()]


def unreadable(state: State, reader: Principal, services: Services) -> list[DocumentRef]:
    """The sources that `reader` may not read now. An index that cannot be read lets nobody read."""
    every = sources(state)
    if not every:
        return []
    try:
        readable = services.retriever.readable(every, reader)
    except RetrievalError:
        return every
    return [one for one in every if one not in readable]


def why_withheld(reader: Principal, unread: int, every: int) -> str:
    """The reason, which names no document."""
    who = "who does not say who they are" if reader["id"] == NOBODY else reader["id"]
    return f"policy does not let {who} read {unread} of the {every} passages that this rests on"
