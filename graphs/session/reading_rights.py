"""Whether a reader may see the texts of a recorded run, decided from its trace and without opening its workflow.

Policy is asked for `read_document` on every document that the trace names, by the policies and the indexes of the
version that ran. Where no copy of that version is left, nobody may.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sluicegate.errors import SluicegateError
from sluicegate.graphs.config.load import Workflow, load
from sluicegate.graphs.runtime.versions import kept
from sluicegate.home import home
from sluicegate.models.chain import ModelSet
from sluicegate.nodes.sources import named, why_withheld
from sluicegate.observe.tracing.describers import without_words
from sluicegate.observe.tracing.settings import TraceReaders
from sluicegate.observe.tracing.spans import Trace
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.withholding import without_texts
from sluicegate.policies.cedar.engine import CedarEngine
from sluicegate.policies.cedar.readable import ReadFilters
from sluicegate.retrieval.lance import LanceRetriever
from sluicegate.state import DocumentRef, Principal

__all__ = ["ReadingRights", "RecordedRun"]


class _Version(NamedTuple):
    readable: Callable[[Sequence[DocumentRef], Principal], list[DocumentRef]]
    readers_abroad: Principal
    """Who reads where its traces are sent."""
    workflow: Workflow


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as the store has it, and as one reader may see it."""

    row: dict[str, Any]
    """Of `runs`; `withheld` says why its texts are left out, where they are."""
    spans: list[dict[str, Any]]
    scores: list[dict[str, Any]]
    decisions: list[dict[str, Any]]


class ReadingRights:
    """The rights in the runs of one home; each version is read once."""

    def __init__(self) -> None:
        self._versions: dict[str, _Version] = {}

    def shown(self, store: Store, row: dict[str, Any], reader: Principal) -> RecordedRun:
        """A run, by its row of the store, with what `reader` may see of its texts."""
        run = row["run_id"]
        spans, scores, decisions = store.spans(run), store.scores(run), store.decisions(run)
        if why := self.withheld(row, spans, reader):
            row = {**row, "answer": "", "error": "", "withheld": why}
            spans = [{**one, "attributes": without_texts(one["attributes"]), "message": ""} for one in spans]
            scores = [{**one, "comment": ""} for one in scores]
            decisions = [{**one, "values": without_words(one["values"])} for one in decisions]
        return RecordedRun(row, spans, scores, decisions)

    def version(self, digest: str) -> Workflow:
        """The version that ran. Raises `RunError` SG604 where no copy of it was kept, and what loading it raises."""
        return self._version(digest).workflow

    def withheld(self, run: Mapping[str, Any], spans: Sequence[Mapping[str, Any]], reader: Principal) -> str:
        """Why `reader` is not shown the texts of a run, a row of the store; empty when they are."""
        documents = named(span["attributes"] for span in spans)
        if not documents:
            return ""
        try:
            readable = self._version(run["digest"]).readable(documents, reader)
        except SluicegateError:
            readable = []
        unread = len([one for one in documents if one not in readable])
        return why_withheld(reader, unread, len(documents)) if unread else ""

    def abroad(self, store: Store) -> Callable[[Trace], bool]:
        """A function that says whether the texts of a run are not for those who read where its traces are sent."""

        def withheld(trace: Trace) -> bool:
            try:
                reader = self._version(trace.info.digest).readers_abroad
            except SluicegateError:
                reader = TraceReaders().principal
            return bool(self.withheld({"digest": trace.info.digest}, store.spans(trace.info.run_id), reader))

        return withheld

    def _version(self, digest: str) -> _Version:
        if digest not in self._versions:
            workflow = load(kept(digest))
            resolved, config = workflow.resolved, workflow.config
            filters = ReadFilters(CedarEngine(resolved.policies, schema=resolved.schema))
            folder = home() / "indexes" / workflow.name
            retriever = LanceRetriever(folder, config.indexes, ModelSet(config.models), readable=filters.readable)
            self._versions[digest] = _Version(retriever.readable, config.tracing.readers.principal, workflow)
        return self._versions[digest]
