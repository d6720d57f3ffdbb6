"""Takes finished observations off the hot path, masks them, commits them to the store and offers them to the exporters.

The beginning of a segment is committed before `begin` returns, its end, with its scores, before `end` does. In between
a thread commits a tenth of a second after the end of a node: a killed process loses the node that was running and those
that ended within that time, and a run that is faster is two commits. Exporters get a segment's observations when it
ends, then with all its tags, or at a flush.
"""

import atexit
import contextlib
import dataclasses
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluicegate.errors import SluicegateError
from sluicegate.observe.tracing.exporter import Exporter, ExporterReport
from sluicegate.observe.tracing.masking import SPOKEN
from sluicegate.observe.tracing.spans import Observation, Record, RunSegment, Score, Trace, after_resume, new_id
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.writes import Writes

__all__ = ["Recorder"]

_PAUSE_S = 0.1
"""How long the end of a node may wait for others to be committed with it."""
_HELD = 2000
"""Maximum observations of an unfinished segment that are held back for its final tags."""
_KEPT = 20_000
"""Maximum observations kept in memory while the store cannot take them."""


@dataclass(slots=True)
class _Begin:
    segment: RunSegment


@dataclass(slots=True)
class _End:
    segment: RunSegment
    at_ns: int
    ms: float


_Item = Observation | _Begin | _End | tuple[RunSegment, Score]


class Recorder:
    """One per tracer. `store` may be None for measurements."""

    def __init__(self, store: Store | None, exporters: Sequence[Exporter]) -> None:
        self._store = store
        self._exporters = list(exporters)
        self._watchers: list[Callable[[Trace], None]] = []
        self._queue: deque[_Item] = deque()
        self._unwritten = Writes()
        self._held: dict[int, Trace] = {}
        self._scores: dict[int, list[Score]] = {}
        self._ready: list[Trace] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        for exporter in self._exporters:
            exporter.start(self._confirm)

    def add(self, observation: Observation) -> None:
        self._queue.append(observation)
        if "node" in observation.attributes:
            self._wake.set()

    def score(self, segment: RunSegment, score: Score) -> None:
        self._queue.append((segment, score))

    def begin(self, segment: RunSegment) -> None:
        if self._thread is None:
            self._start()
        self._queue.append(_Begin(segment))
        # a store that fails here fails again at the end of the segment, where it is reported
        with contextlib.suppress(Exception):
            self._drain()

    def end(self, segment: RunSegment) -> None:
        """Commit the segment. Raises `RunError` when the store cannot take it; it is tried again at the next commit."""
        self._queue.append(_End(segment, segment.now_ns(), segment.elapsed_ms()))
        self._drain()

    def watch(self, watcher: Callable[[Trace], None]) -> None:
        """Call it with every trace that exporters would get, from the thread that commits it: it must be quick."""
        self._watchers.append(watcher)

    def feedback(self, run_id: str, name: str, value: float | bool | str, comment: str, by: str) -> Score:
        if self._store is None:
            raise ValueError("feedback needs a store")
        info = self._store.trace(run_id).info
        score = Score(new_id(), info.run_id, name, value, comment, time.time_ns(), source="feedback", by=by)
        self._store.add_score(score)
        for exporter in self._exporters:
            exporter.offer(Trace(info, [], [score]))
        return score

    def flush(self, deadline_s: float) -> bool:
        ends = time.monotonic() + deadline_s
        with contextlib.suppress(SluicegateError):
            self._drain(release=True)
        done = [exporter.flush(max(0.0, ends - time.monotonic())) for exporter in self._exporters]
        return all(done) and not self._pending()

    def close(self, deadline_s: float) -> None:
        if self._closed:
            return
        self._closed = True
        ends = time.monotonic() + deadline_s
        self._wake.set()
        self.flush(deadline_s)
        for exporter in self._exporters:
            exporter.close(max(0.0, ends - time.monotonic()))

    def report(self) -> list[ExporterReport]:
        return [exporter.report() for exporter in self._exporters]

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sluicegate-recorder", daemon=True)
                self._thread.start()
                atexit.register(_close_at_exit, weakref.ref(self))

    def _work(self) -> None:
        while not self._closed:
            self._wake.wait()
            time.sleep(_PAUSE_S)
            self._wake.clear()
            # as above
            with contextlib.suppress(Exception):
                self._drain()

    def _pending(self) -> bool:
        return bool(self._queue) or self._unwritten.any()

    def _drain(self, *, release: bool = False) -> None:
        """Commit the queue and offer what is ready to the exporters; `release` makes open segments ready too."""
        with self._lock:
            while self._queue:
                self._sort(self._queue.popleft())
            if release:
                for key in list(self._held):
                    self._release(key)
            ready, self._ready = self._ready, []
            try:
                if self._store is not None and self._unwritten.any():
                    self._store.write(self._unwritten)
                self._unwritten = Writes()
            except SluicegateError:
                raise
            except Exception:
                # no row of ours should do this; kept, it would spoil every later commit
                self._unwritten = Writes()
                raise
            finally:
                del self._unwritten.records[:-_KEPT]
                for trace in ready:
                    for watcher in self._watchers:
                        watcher(trace)
                    for exporter in self._exporters if trace.records or trace.scores or trace.root else ():
                        exporter.offer(_with_root(trace) if exporter.overwrites else trace)

    def _sort(self, item: _Item) -> None:
        writes = self._unwritten
        if isinstance(item, Observation):
            _mask(item)
            writes.records.append((item.segment.info.run_id, item))
            self._hold(item.segment).records.append(item)
        elif isinstance(item, _Begin):
            segment = item.segment
            writes.begun.append((segment.info, segment.wall_ns))
        elif isinstance(item, _End):
            segment = item.segment
            outcome = dict(segment.outcome)
            for key, masked in (("answer", segment.masking.payload), ("error", segment.masking.text)):
                if outcome.get(key):
                    outcome[key] = masked(outcome[key])
            writes.scores += self._scores.pop(id(segment), ())
            writes.ended.append((segment.info, item.at_ns, item.ms, outcome))
            if segment.resumes:
                overwriting = [exporter.destination for exporter in self._exporters if exporter.overwrites]
                writes.roots.append((segment.info.run_id, item.at_ns, outcome, overwriting))
                if overwriting and (root := self._root(segment, item.at_ns, outcome)):
                    self._hold(segment).root = root
            (self._held.get(id(segment)) or self._hold(segment)).ended = outcome
            self._release(id(segment))
        else:
            segment, score = item
            masked = segment.masking.payload if score.name in SPOKEN else segment.masking.text
            score = dataclasses.replace(score, comment=masked(score.comment))
            self._scores.setdefault(id(segment), []).append(score)
            self._hold(segment).scores.append(score)

    def _root(self, segment: RunSegment, at_ns: int, outcome: Mapping[str, Any]) -> Record | None:
        """The run's root with what a resume has made of it; None where nothing of the run is known."""
        root = None
        if self._store is not None:
            with contextlib.suppress(SluicegateError):
                root = self._store.root(segment.info.run_id)
        if root is not None:
            root.attributes |= outcome
            root.end_ns = at_ns
            root.level, root.message = after_resume(outcome)
        return root

    def _hold(self, segment: RunSegment) -> Trace:
        """Holds a segment's observations until its end; a long segment is sent in parts."""
        key = id(segment)
        held = self._held.get(key)
        if held is None or len(held.records) >= _HELD:
            self._release(key)
            held = self._held[key] = Trace(segment.info, [], [])
        return held

    def _release(self, key: int) -> None:
        trace = self._held.pop(key, None)
        if trace is not None and (self._exporters or self._watchers):
            self._ready.append(trace)

    def _confirm(self, destination: str, counts: dict[str, int]) -> None:
        if self._store is not None:
            # unnoted, the run is sent once more by the next push, which changes nothing at the destination
            with contextlib.suppress(SluicegateError, sqlite3.Error):
                self._store.delivered(destination, counts)


def _with_root(trace: Trace) -> Trace:
    return trace if trace.root is None else Trace(trace.info, [*trace.records, trace.root], trace.scores)


def _close_at_exit(reference: "weakref.ref[Recorder]") -> None:
    """For a program that never closes its tracer: flush what is queued."""
    recorder = reference()
    if recorder is not None:
        recorder.close(5.0)


def _mask(observation: Observation) -> None:
    masking = observation.segment.masking
    try:
        observation.attributes = masking.attributes(observation.attributes)
        observation.message = masking.text(observation.message)
    except Exception as error:
        # what cannot be masked must not be kept
        observation.attributes = {"unmasked": f"attributes dropped: {type(error).__name__}"}
        observation.message = ""
