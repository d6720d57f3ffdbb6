"""What the firewall adds to a call of a tool, in processor time, beside a bare pass-through to the same server.

    python benchmarks/firewall.py [--record]

One upstream server and one client in this process, as the firewall's own are; the server's time is in neither figure,
since it is a process of its own. Each round makes the same call in every way, in an order that changes: straight to the
server, through the firewall without guards, and with the guards that a config has by default, for a tool of a low and
of a high risk. A denied call is one that no policy permits.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.results import record, table

ROUNDS, WARM = 300, 20
TARGET_MS = 5.0
Call = Callable[[], Awaitable[Any]]


async def ways(opened: AsyncExitStack, folder: Path) -> dict[str, Call]:
    """How the same call is made, in each way."""
    from sluicegate.nodes.tools.mcp import servers
    from sluicegate.serving.firewall.firewall import Firewall
    from sluicegate.serving.firewall.upstream import Upstream
    from tests.support.firewalls import ANN, FIND, PAY, firewall_at
    from tests.support.mcp_upstream import Upstream as Served

    desk = Served(folder / "desk", FIND, PAY)
    quiet: dict[str, Any] = {"guards": []}
    variants: dict[str, dict[str, Any]] = {
        "without guards, low risk": {"arguments": quiet, "results": quiet, "risk": "low"},
        "without guards, high risk": {"arguments": quiet, "results": quiet, "risk": "high"},
        "default guards, low risk": {"risk": "low"},
    }
    found: dict[str, Call] = {}
    words = {"words": "printer on the second floor"}
    for name, keys in variants.items():
        risk = keys.pop("risk")
        tools = {"desk": {"tools": {"find": {"risk": risk, "usd": 0.001}, "pay": {"risk": risk}}}}
        file = await firewall_at(folder / name, upstreams={"desk": desk}, servers=tools, **keys)
        wall = await opened.enter_async_context(Firewall(file))
        found[name] = _through(wall, ANN, "desk__find", words, "done")
        if risk == "low":
            refused = {"to": "mallory", "amount": 1}
            found[f"denied, {name.partition(',')[0]}"] = _through(wall, ANN, "desk__pay", refused, "refused")
    upstream = Upstream("desk", servers()["desk"], most=1_000_000)
    opened.push_async_callback(upstream.close)
    return {"a bare pass-through": lambda: upstream.call("find", words, {}), **found}


def _through(wall: Any, person: Any, name: str, arguments: dict[str, Any], status: str) -> Call:
    async def call() -> None:
        made = await wall.call(person, name, arguments)
        assert made.status == status, made

    return call


async def measured() -> dict[str, list[float]]:
    """The milliseconds of processor time of each way, round by round."""
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as opened:
            calls = await ways(opened, Path(folder))
            names = [*calls]
            for number in range(-WARM, ROUNDS):
                first = number % len(names)
                for name in names[first:] + names[:first]:
                    started = time.process_time()
                    await calls[name]()
                    if number >= 0:
                        took.setdefault(name, []).append(1000 * (time.process_time() - started))
    return {name: took[name] for name in names}


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["SLUICEGATE_HOME"] = home
        took = asyncio.run(measured())
    bare, *_ = took.values()
    rows: list[tuple[str, ...]] = []
    for name, times in took.items():
        added = median(time - base for time, base in zip(times, bare, strict=True))
        ratio = median(time / base for time, base in zip(times, bare, strict=True))
        more = (f"{added:+.2f}", f"{ratio:.1f}") if times is not bare else ("", "")
        rows.append((name, f"{median(times):.2f}", *more))
    made = table(("call", "processor time, ms", "added, ms", "ratio"), *rows)
    print(json.dumps(made, indent=1))
    if "--record" in sys.argv:
        record(
            "firewall",
            "The firewall before tools",
            f"{ROUNDS} calls of one tool in each way, through a connection to a server that answers at once: policies, "
            "the booked price, the idempotency key and two records of the audit log for a call that is made, one "
            "record for one that is denied. What is added is the median of the differences from a bare pass-through "
            f"in the same round, and of the ratios; the goal is {TARGET_MS:g} ms a decision, without guards.",
            [made],
        )


if __name__ == "__main__":
    main()
