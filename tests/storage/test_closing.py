"""A store may be closed while another thread uses it, which SQLite itself answers with a crash of the process."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.models.embeddings.embedding_store import EmbeddingStore
from sluicegate.observe.audit.log import AuditLog
from sluicegate.observe.incidents import Incidents
from sluicegate.policies.cache.cache import AnswerStore

ROUNDS = 15
"""Without the store's lock a round crashes about one time in five."""


def _pairs() -> tuple[Callable[[int], Any], Callable[[], None]]:
    store = PairStore()
    return lambda number: store.release(1, str(number)), store.close


def _embeddings() -> tuple[Callable[[int], Any], Callable[[], None]]:
    store = EmbeddingStore()
    return lambda number: store.put("e", {str(number): [1.0]}), store.close


def _answers() -> tuple[Callable[[int], Any], Callable[[], None]]:
    store = AnswerStore()
    return lambda number: store.put(str(number), {}, ttl_s=60, saved_usd=0), store.close


def _incidents() -> tuple[Callable[[int], Any], Callable[[], None]]:
    store = Incidents()
    return lambda _: store.record("blocked", system="s", source="g", description="d"), store.disconnect


def _audit() -> tuple[Callable[[int], Any], Callable[[], None]]:
    log = AuditLog(Path(os.environ["SLUICEGATE_HOME"]) / "audit")
    return lambda number: log.append("e", facts={"n": number}), log.close


STORES = [_pairs, _embeddings, _answers, _incidents, _audit]


def _closed_in_use() -> None:
    for opened in STORES * ROUNDS:
        print(opened.__name__, flush=True)
        use, close = opened()
        begun, closed = threading.Event(), threading.Event()

        def work(use: Callable[[int], Any], begun: threading.Event, closed: threading.Event) -> None:
            for number in count():
                was_closed = closed.is_set()
                try:
                    use(number)
                except Exception:
                    return
                begun.set()
                if was_closed:
                    return

        thread = threading.Thread(target=work, args=(use, begun, closed))
        thread.start()
        assert begun.wait(60)
        close()
        closed.set()
        thread.join()


@pytest.mark.slow
def test_a_store_is_closed_under_a_thread_that_writes(own_home: Path) -> None:
    assert own_home
    process = multiprocessing.get_context("spawn").Process(target=_closed_in_use)
    process.start()
    process.join()
    assert process.exitcode == 0
