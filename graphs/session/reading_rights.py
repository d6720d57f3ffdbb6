"""Whether a reader may see the texts of a recorded run, decided from its trace and without opening its workflow.

Policy is asked for `read_document` on every document that the trace names, by the policies and the indexes of the
version that ran. Where no copy of that version is left, nobody may.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sluicegate.errors import SluicegateError
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.versions import kept
from sluicegate.home import home
from sluicegate.models.chain import ModelSet
from sluicegate.nodes.sources import why_withheld
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.readable import ReadFilters
from sluicegate.retrieval.lance import LanceRetriever
from sluicegate.state import DocumentRef, Principal

__all__ = ["ReadingRights"]

_Read = Callable[[Sequence[DocumentRef], Principal], list[DocumentRef]]


class ReadingRights:
    """The rights in the runs of one home; each version is read once."""

    def __init__(self) -> None:
        self._versions: dict[str, _Read] = {}

    def withheld(self, run: Mapping[str, Any], spans: Sequence[Mapping[str, Any]], reader: Principal) -> str:
        """Why `reader` is not shown the texts of a run, a row of the store; empty when they are."""
        documents = _documents(spans)
        if not documents:
            return ""
        try:
            readable = self._reading(run["digest"])(documents, reader)
        except SluicegateError:
            readable = []
        unread = len([one for one in documents if one not in readable])
        return why_withheld(reader, unread, len(documents)) if unread else ""

    def _reading(self, digest: str) -> _Read:
        if digest not in self._versions:
            workflow = load(kept(digest))
            resolved, config = workflow.resolved, workflow.config
            filters = ReadFilters(CedarEngine(resolved.policies, schema=resolved.schema))
            folder = home() / "indexes" / workflow.name
            retriever = LanceRetriever(folder, config.indexes, ModelSet(config.models), readable=filters.readable)
            self._versions[digest] = retriever.readable
        return self._versions[digest]


def _documents(spans: Sequence[Mapping[str, Any]]) -> list[DocumentRef]:
    """Every passage that the observations name, by their id, version and, where it is known, content."""
    found: dict[tuple[str, str, str], DocumentRef] = {}
    for span in spans:
        for one in span["attributes"].get("documents", ()):
            key = (one["id"], one["version"], one.get("hash", ""))
            found[key] = {
                "id": one["id"], "version": one["version"], "title": "", "source": "", "score": 0.0, "span": [0, 0],
                "hash": one.get("hash", ""),
            }  # fmt: skip
    return [*found.values()]
