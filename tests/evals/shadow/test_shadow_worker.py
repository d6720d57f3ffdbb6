"""The process beside: whatever it does, handing over returns at once, and what was not compared is counted."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from sluicegate.evals.shadow.pairs import PairStore
from sluicegate.evals.shadow.shadow_worker import ShadowProcess
from sluicegate.graphs.runtime.outcome import Outcome
from tests.support.fakes import FakeRouter
from tests.support.shadowing import answered, like, plan, registered

# what the process does with the ids; the workflow's name is its argument
CRASHES = "raise SystemExit(3)"
HANGS = "import signal; signal.pause()"
READS = "import sys, pathlib; [pathlib.Path(sys.argv[1] + '.seen').open('a').write(line) for line in sys.stdin]"
KILLS_ITSELF = "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"
FILLS_MEMORY = (
    "import sys, resource; resource.setrlimit(resource.RLIMIT_AS, (10**8,)*2); sys.stdin.readline(); 'x'*10**9"
)


def beside(code: str) -> ShadowProcess:
    return ShadowProcess("test", (sys.executable, "-c", code))


def ended(made: ShadowProcess) -> int:
    process = made._process
    assert process is not None
    return process.wait(100)


async def test_ids_of_what_is_sampled_are_handed_over(
    own_home: Path, pairs: PairStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    champion = await answered(own_home)
    made = beside(READS)
    assert made.offer(champion) == "no shadow"
    made.refresh()
    assert made.state == "none"
    at = registered(pairs, sample={"share": 0.5})
    made.refresh()
    assert made.state == "running"
    said = [made.offer(like(champion, number)) for number in range(40)]
    waits = await answered(own_home, 1, router=FakeRouter("access"))
    assert made.offer(waits) == "not at its end"
    state: Any = {**champion.state, "run": {**champion.state["run"], "digest": "promoted"}}
    assert made.offer(Outcome("r", state, 1.0)) == "another version of the champion"
    # the parent's end is closed, the process reads what there is and leaves
    made.close(20)
    seen = (tmp_path / "test.seen").read_text().split()
    assert seen == [f"run-{number}" for number in range(40) if said[number] == ""]
    assert {"", "not sampled"} == set(said)
    assert pairs.shed(at.number) == {}


@pytest.mark.parametrize("code", [CRASHES, KILLS_ITSELF, FILLS_MEMORY])
async def test_one_that_dies_is_counted_and_started_again(own_home: Path, pairs: PairStore, code: str) -> None:
    at = registered(pairs)
    champion = await answered(own_home)
    made = beside(code)
    made.refresh()
    # it may have died before anything was offered
    early = made.offer(champion) == "no process"
    assert ended(made) != 0
    # nobody reads the pipe any more
    assert made.offer(like(champion, 1)) == "no process"
    made.refresh()
    assert made.state == "down"
    made._not_before = 0.0
    made.refresh()
    assert made.state == "running"
    made.close()
    assert pairs.shed(at.number)["process died"] == 1
    assert pairs.shed(at.number)["no process"] == 1 + early
    # it is not started over and over
    made.refresh()
    made.offer(champion)
    ended(made)
    made.refresh()
    assert made.state == "down"
    made.close()


@pytest.mark.slow
async def test_one_that_hangs_is_a_full_pipe_and_nothing_else(own_home: Path, pairs: PairStore) -> None:
    at = registered(pairs)
    champion = await answered(own_home)
    made = beside(HANGS)
    made.refresh()
    # it never reads and never ends: whoever waited for it would wait for ever
    shed = [made.offer(like(champion, number)) for number in range(20_000)].count("queue full")
    assert shed > 10_000
    made.refresh()
    assert pairs.shed(at.number) == {"queue full": shed}
    process = made._process
    made.close(0.3)
    assert process is not None
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
async def test_it_stops_and_starts_with_the_comparison(own_home: Path, pairs: PairStore) -> None:
    registered(pairs)
    made = beside(HANGS)
    made.refresh()
    first = made._process
    made.refresh()
    assert made._process is first
    pairs.stop("test")
    made.refresh()
    assert made.state == "none"
    assert first is not None
    assert first.poll() is not None
    pairs.start("test", plan(plan="another"), champion=("a", "digest-1"), challenger=("c", "digest-3"))
    made.refresh()
    assert made.state == "running"
    made.close()


async def test_something_odd_is_not_raised(pairs: PairStore) -> None:
    registered(pairs)
    made = beside(READS)
    made.refresh()
    odd: Any = Outcome("r", {}, 0.0)  # type: ignore[typeddict-item]
    assert made.offer(odd) == "not comparable: KeyError"
    made.close()
