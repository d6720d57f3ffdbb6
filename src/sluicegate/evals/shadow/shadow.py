"""Shadow mode: runs the challenger on the champion's requests.

`Shadow` takes requests as they come: `after` is handed an outcome that the user already has, and returns at once; the
challenger runs on a thread that nothing waits for. Its queue is bounded and sheds, so a challenger that hangs or is
slow costs the memory of the queue. A service has it in a process of its own (`beside`), since a thread still shares the
processor and Python's lock. `evals.shadow.shadow_backfill` makes the same pairs of what was recorded, later and all of
it.
"""

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from sluicegate.errors import ModelError, RunError
from sluicegate.evals.evaluation.cases import Case, read_cases
from sluicegate.evals.shadow.pairing import Challenge, challenge_by, compare, sampled, skip_reason
from sluicegate.evals.shadow.pairs import PAIRED_BEFORE, PairStore, Registration
from sluicegate.graphs.config.load import load
from sluicegate.graphs.runtime.factory import Opened
from sluicegate.graphs.runtime.outcome import Outcome
from sluicegate.graphs.session.checkpoint_reader import recorded
from sluicegate.home import home
from sluicegate.observe.tracing.store import Store
from sluicegate.observe.tracing.storing.shared import open_store
from sluicegate.storage.database import is_there, place
from sluicegate.storage.schemas import SHADOW

__all__ = ["Shadow", "challenger_of", "labels_of", "list_price", "outcome_of", "pair_up", "shadow_of"]

_WAIT_S = 0.05
"""Polling interval of an idle worker."""


class Shadow:
    """A running comparison within a serving process."""

    def __init__(
        self,
        registration: Registration,
        pairs: PairStore,
        challenge: Challenge,
        *,
        labels: Mapping[str, Case] | None = None,
        price: Callable[[str], float | None] = lambda _run: None,
    ) -> None:
        """`price` gives the list price of a champion's run."""
        self._at, self._plan, self._pairs, self._challenge = registration, registration.plan, pairs, challenge
        self._labels, self._price = labels or {}, price
        self._queue: queue.Queue[Outcome] = queue.Queue(self._plan.queue)
        self._shed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="shadow", daemon=True)
        self._thread.start()

    def after(self, outcome: Outcome) -> str:
        """Offer a finished run. Returns at once and never raises; the reason if it was not taken, else empty."""
        try:
            if reason := skip_reason(outcome, self._at):
                return reason
            if not sampled(self._plan, outcome.state):
                return "not sampled"
            self._queue.put_nowait(outcome)
        except queue.Full:
            return self._let_go("queue full")
        except Exception as error:
            return self._let_go(f"not comparable: {type(error).__name__}")
        return ""

    def _let_go(self, reason: str) -> str:
        with self._lock:
            self._shed[reason] += 1
        return reason

    def drain(self, deadline_s: float) -> bool:
        """Wait until everything handed over has been compared; False at the deadline. For tests and shutdowns."""
        until = time.monotonic() + deadline_s
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)
        return not self._queue.unfinished_tasks

    def close(self, deadline_s: float = 1.0) -> None:
        """Stop. What is still queued is shed; a hanging challenger is abandoned on its thread."""
        self._closing.set()
        self._thread.join(deadline_s)
        with self._lock:
            self._shed["closed"] += self._queue.qsize()
        self._note()

    async def _work(self) -> None:
        await asyncio.gather(*(self._one_by_one() for _ in range(self._plan.concurrency)))

    async def _one_by_one(self) -> None:
        while not self._closing.is_set():
            try:
                outcome = self._queue.get_nowait()
            except queue.Empty:
                await asyncio.sleep(_WAIT_S)
                continue
            try:
                case = self._labels.get(outcome.state["request"]["text"])
                reason = await pair_up(self._at, self._pairs, self._challenge, outcome, case, self._price)
                if reason and reason != PAIRED_BEFORE:
                    self._let_go(reason)
                self._note()
            except Exception as error:
                self._let_go(f"not recorded: {type(error).__name__}")
            finally:
                self._queue.task_done()

    def _note(self) -> None:
        with self._lock:
            counts, self._shed = dict(self._shed), Counter()
        self._pairs.count_shed(self._at.number, counts)


async def pair_up(
    at: Registration,
    pairs: PairStore,
    challenge: Challenge,
    outcome: Outcome,
    case: Case | None,
    price: Callable[[str], float | None],
) -> str:
    """Make and record one pair within the day's caps; why not, or an empty text."""
    if reason := pairs.claim(at, outcome.run):
        return reason
    try:
        pair, cost = await compare(at.plan, outcome, challenge, case=case, list_usd=price(outcome.run))
    except BaseException:
        # the worker is being stopped
        pairs.release(at.number, outcome.run)
        raise
    pairs.add(at.number, pair, usd=cost)
    return ""


def shadow_of(workflow: str) -> Shadow | None:
    """The comparison that runs for a workflow, ready to be handed outcomes; None when none runs.

    Raises `RunError` SG616 (the challenger was changed) and what opening it raises; a caller that serves should log
    that and go on without.
    """
    if not is_there(place(), SHADOW):
        return None
    pairs = PairStore()
    found = [known for known in pairs.all() if known.workflow == workflow and known.stopped_at is None]
    if not found:
        pairs.close()
        return None
    at = found[0]
    opened, challenge = challenger_of(at)
    store = open_store()
    return Shadow(
        at,
        pairs,
        challenge,
        labels=labels_of(at),
        price=lambda run: list_price(store, opened.models.price, run),
    )


def challenger_of(at: Registration) -> tuple[Opened, Challenge]:
    """Raises `RunError` SG616 when its files are not what was registered."""
    workflow = load(at.challenger_here())
    if workflow.digest != at.challenger_digest:
        raise RunError(
            "SG616",
            f"the challenger of {at.workflow} has changed since its shadow was started",
            hint="Restore it, or stop the shadow and start another",
        )
    return challenge_by(workflow, folder_of(at))


def folder_of(at: Registration) -> Path:
    """Where a challenger keeps its own checkpoints and ledger."""
    return home() / "shadow" / str(at.number)


def labels_of(at: Registration) -> dict[str, Case]:
    """By the request's text."""
    return {case.text: case for case in read_cases(Path(at.labels))} if at.labels else {}


def outcome_of(run: str, store: Store) -> Outcome:
    """A finished run as it was recorded. Raises `RunError` SG603."""
    return Outcome(run, recorded(run), store.run(run)["ms"])


def list_price(store: Store, price: Callable[[str, int, int], float], run: str) -> float | None:
    """What a recorded run's calls cost at the list price of the models asked for; None when nothing is recorded."""
    calls = [call for call in store.model_calls(run) if call["type"] == "generation" and call["role"]]
    if not calls and not store.query("SELECT 1 FROM runs WHERE run_id = ?", (run,)):
        return None
    try:
        return sum(
            price(call["role"], int(call["prompt_tokens"] or 0), int(call["completion_tokens"] or 0)) for call in calls
        )
    except ModelError:
        # a role that the challenger's models do not have
        return None
