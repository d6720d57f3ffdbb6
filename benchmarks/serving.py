"""Many callers at a time, on models that answer at once: one worker and two, one workflow and several.

    python benchmarks/serving.py [--against COMMIT] [--record]

Servers on the loopback address, each in processes and a home of its own, all warm; one is called at a time. In each
round every server is called by `CALLERS` callers, each with `CALLS` requests one after the other on its own
connection, in an order that changes from round to round. With `--against`, a server of that commit (from a worktree)
with one workflow takes part. The ratios are to it, in the same round, else to that of one worker and one workflow.
"""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import httpx

ROOT = Path(__file__).resolve().parent.parent
if "--serve-before" not in sys.argv:
    sys.path.insert(0, str(ROOT))

CALLERS, CALLS, ROUNDS, SEVERAL = 64, 2, 5, 4
NUMBERS = itertools.count()


def work(folder: str, count: int, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """A worker with so many workflows."""
    from sluicegate.serving.http.server import serve
    from sluicegate.serving.workflows import Workflows
    from tests.support import stand

    files = [stand.written(Path(folder) / name / "workflow.yaml", name) for name in names(count)]
    serve(Workflows([stand.service(file) for file in files]), stand.GATEWAY, listening=listening, started=ready)
    os._exit(0)


def names(count: int) -> list[str]:
    return [f"flow-{number}" for number in range(count)]


def serving(folder: str, workers: int, count: int) -> None:
    """A server of this checkout."""
    from sluicegate.serving.http.server import bound
    from sluicegate.serving.process.workers import supervise

    with bound("127.0.0.1", 0) as listening:
        listening.listen()
        supervised, told = partial(work, folder, count), partial(print, flush=True)
        if workers == 1:
            supervised(listening, told)
        supervise(supervised, listening, workers, started=told)


def serving_before(home: str) -> None:
    """A server of another checkout, which `PYTHONPATH` leads to."""
    from sluicegate.serving.limits import Limits
    from tests.support.stand import serve_alone

    serve_alone(home, Limits(grace_s=0), partial(print, flush=True))


@contextmanager
def server(folder: Path, *command: str, at: Path = ROOT) -> Generator[Callable[[], str]]:
    """A server while the block lasts; what it gives waits for its address."""
    folder.mkdir()
    paths = os.pathsep.join(map(str, (at / "src", at)))
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), *command],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=at,
        env={**os.environ, "PYTHONPATH": paths, "SLUICEGATE_HOME": str(folder / "home")},
    )  # fmt: skip
    output = process.stdout
    assert output

    def address() -> str:
        line = output.readline().strip()
        assert line.startswith("http://"), command
        return line

    try:
        yield address
    finally:
        process.terminate()
        output.close()
        process.wait()


@contextmanager
def worktree(commit: str) -> Generator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(at), commit], check=True)
        try:
            yield at
        finally:
            subprocess.run([*git, "remove", "--force", str(at)], check=True)


async def called(address: str, workflows: list[str]) -> tuple[float, list[float]]:
    """The seconds of a round, and the milliseconds of each request."""

    async def caller(number: int) -> list[float]:
        took = list[float]()
        headers = {"x-user": f"user-{number}", "x-roles": "employee"}
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=120) as client:
            for _ in range(CALLS):
                body = {"text": f"How do I reset it, {next(NUMBERS)}?"}
                if workflows:
                    body["workflow"] = workflows[number % len(workflows)]
                started = time.perf_counter()
                response = await client.post("/v1/runs", json=body)
                took.append((time.perf_counter() - started) * 1000)
                assert response.status_code == 200, response.text
        return took

    began = time.perf_counter()
    found = await asyncio.gather(*map(caller, range(CALLERS)))
    return time.perf_counter() - began, [each for its in found for each in its]


def measured(against: str) -> dict[str, list[tuple[float, list[float]]]]:
    with ExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory()))
        starting = dict[str, tuple[Callable[[], str], list[str]]]()
        if against:
            at = parts.enter_context(worktree(against))
            home = str(folder / "before" / "home")
            started = server(folder / "before", "--serve-before", home, at=at)
            starting[f"before ({against[:7]}), 1 workflow"] = parts.enter_context(started), []
        for workers, count in itertools.product((1, 2), (1, SEVERAL)):
            name = f"{workers} worker{'s' * (workers > 1)}, {count} workflow{'s' * (count > 1)}"
            own = folder / f"{workers}-{count}"
            started = server(own, "--serve", str(own), str(workers), str(count))
            starting[name] = parts.enter_context(started), names(count)
        servers = {name: (address(), workflows) for name, (address, workflows) in starting.items()}
        took: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in servers}
        for number in range(-1, ROUNDS):
            order = [*servers]
            first = number % len(order)
            for name in order[first:] + order[:first]:
                round_ = asyncio.run(called(*servers[name]))
                if number >= 0:
                    took[name].append(round_)
            print(number, {name: round(CALLERS * CALLS / each[-1][0]) for name, each in took.items() if each})
        return took


def main() -> None:
    from benchmarks.results import record, table

    against = sys.argv[sys.argv.index("--against") + 1] if "--against" in sys.argv else ""
    took = measured(against)
    base = next(iter(took))
    rows = list[tuple[str, ...]]()
    for name, rounds in took.items():
        millis = [quantiles(each, n=20) for _, each in rounds]
        ratio = median(own[0] / each[0] for own, each in zip(took[base], rounds, strict=True))
        rows.append(
            (
                name,
                f"{median(CALLERS * CALLS / seconds for seconds, _ in rounds):.0f}",
                f"{ratio:.2f}",
                f"{median(each[9] for each in millis):.0f}",
                f"{median(each[18] for each in millis):.0f}",
            )
        )
    made = table(("server", "requests/s", "ratio", "p50 ms", "p95 ms"), *rows)
    print(json.dumps(made, indent=1))
    if "--record" in sys.argv:
        record(
            "serving",
            "A server under load",
            f"{CALLERS} callers at a time, {CALLS} requests each in {ROUNDS} rounds, on models that answer at once and "
            "runs of six nodes: medians of the rounds. The ratio is that of the requests per second to those of the "
            "first line in the same round. The callers run on the same cores as the server.",
            [made],
        )


if __name__ == "__main__":
    if "--serve" in sys.argv:
        folder, workers, count = sys.argv[sys.argv.index("--serve") + 1 :]
        serving(folder, int(workers), int(count))
    elif "--serve-before" in sys.argv:
        serving_before(sys.argv[-1])
    else:
        main()
