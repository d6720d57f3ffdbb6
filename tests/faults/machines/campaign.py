"""A campaign: machines at work, one fault after the other, and what is left of it all.

``python -m tests.faults.machines.campaign FOLDER [--faults 12] [--seed 1] [--servers 2] [--workers 2]`` plays it in a
network of its own (`network`), and prints one JSON object: the tally of faults, and whatever broke a promise, which
should be nothing.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from sluicegate.errors import RunError
from sluicegate.observe.audit.verify import verify
from sluicegate.policies.kill_switch import KillSwitch
from tests.faults.machines import network
from tests.faults.machines.database import Database
from tests.faults.machines.desk import CALL_USD, OutsideDesk
from tests.faults.machines.machine import Machine
from tests.faults.machines.traffic import Order, Traffic
from tests.faults.machines.workflow import written

__all__ = ["FAULTS", "play"]

PORT, DATABASE_PORT, DESK_PORT = 8080, 5432, 9000
CAP_USD = 0.02
"""What a person may spend in a day: less than the spender's orders cost."""
SKEW_S = 300.0
SEEN_S = 1.0
"""So long after it was switched, a switch holds everywhere."""
_DISK_MB = 24
_LOOKS = 1000


@dataclass
class Campaign:
    folder: Path
    seed: int
    servers: int
    workers: int
    """With workers, the last server leaves all work to others."""

    restarts: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.machines = self.servers + self.workers
        self.chance = random.Random(self.seed)
        self.database = Database(self.folder / "database", "*", DATABASE_PORT)
        self.desk = OutsideDesk(network.DESK, DESK_PORT, seconds=(0.0, 0.15), seed=self.seed)
        self.versions = {
            number: written(self.folder / f"v{number}", self.desk.url, version=number, cap=CAP_USD) for number in (1, 2)
        }
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLUICEGATE_")},
            "SLUICEGATE_DATABASE_URL": self.database.url(network.BRIDGE, connect_timeout="3"),
        }
        self.fleet = [
            Machine(self.folder / f"machine-{number}", environment, self.desk.url, network.Cable(number))
            for number in range(self.machines)
        ]
        self.fleet[0].give_small_disk(_DISK_MB)
        self.runs_version = dict.fromkeys(range(self.machines), 1)
        self.ahead_s = dict.fromkeys(range(self.machines), 0.0)
        self._busy = threading.Lock()
        self._watching = threading.Event()
        self._stopped = False
        self.off: list[tuple[int, datetime, datetime]] = []
        """Versions whose model was off everywhere from then to then."""
        os.environ["SLUICEGATE_HOME"] = str(self.folder / "operator")
        os.environ["SLUICEGATE_DATABASE_URL"] = self.database.url()

    # --- machines ---

    def start(self, number: int) -> None:
        machine, flow = self.fleet[number], str(self.versions[self.runs_version[number]])
        assert machine.cable
        if number >= self.servers:
            machine.start("worker", flow, "--drain", "5", ahead_s=self.ahead_s[number])
            return
        leaves = ["--no-work"] if self.workers and number == self.servers - 1 else []
        machine.start(
            "serve", flow, *leaves,
            "--host", machine.cable.address, "--port", str(PORT),
            "--trust-header", "x-user", "--trust-roles", "x-roles", "--no-reload", "--grace", "0", "--drain", "5",
            "--timeout", "0.3", "--per-principal", "64",
            ahead_s=self.ahead_s[number],
        )  # fmt: skip

    def address(self, number: int) -> str:
        cable = self.fleet[number].cable
        assert cable
        return f"{cable.address}:{PORT}"

    def up(self) -> list[str]:
        """Of the servers whose process lives."""
        return [self.address(number) for number in range(self.servers) if self.fleet[number].alive]

    def ready(self, number: int) -> None:
        """Wait until a server can be asked; a worker is not waited for."""
        if number >= self.servers:
            return
        for _ in range(_LOOKS):
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://{self.address(number)}/readyz", trust_env=False, timeout=1).status_code == 200:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"machine {number} does not start: {self.fleet[number].log.read_text()[-2000:]}")

    def watch(self) -> None:
        """What starts a process again that has ended, as a service manager does."""
        while not self._stopped:
            with self._busy:
                for number, machine in enumerate(self.fleet):
                    if machine.starts and not machine.alive:
                        self.restarts["ended by itself"] += 1
                        self.start(number)
            time.sleep(0.1)

    def pick(self) -> int:
        return self.chance.randrange(self.machines)

    # --- faults ---

    def kill(self) -> None:
        number = self.pick()
        with self._busy:
            self.fleet[number].kill()
            time.sleep(self.chance.uniform(0, 0.5))
            self.start(number)
        self.ready(number)

    def terminate(self) -> None:
        number = self.pick()
        with self._busy:
            self.fleet[number].stop()
            self.fleet[number].kill()
            self.start(number)
        self.ready(number)

    def pause(self) -> None:
        machine = self.fleet[self.pick()]
        with suppress(ProcessLookupError):
            machine.signal(signal.SIGSTOP)
            time.sleep(self.chance.uniform(0.3, 2))
            machine.signal(signal.SIGCONT)

    def pause_and_replace(self) -> None:
        """The database gives up a paused machine, others take its runs up, and then it comes back."""
        number = self.pick()
        machine, cable = self.fleet[number], self.fleet[number].cable
        assert cable
        with suppress(ProcessLookupError):
            machine.signal(signal.SIGSTOP)
            with psycopg.connect(self.database.url(), autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr = %s", (cable.address,)
                )
            time.sleep(self.chance.uniform(1.5, 3))
            machine.signal(signal.SIGCONT)

    def cut(self) -> None:
        cable = self.fleet[self.pick()].cable
        assert cable
        cable.cut()
        time.sleep(self.chance.uniform(0.5, 4))
        cable.mend()

    def cut_from_database(self) -> None:
        cable = self.fleet[self.pick()].cable
        assert cable
        cable.cut_from_database()
        time.sleep(self.chance.uniform(0.5, 4))
        cable.mend()

    def kill_database(self) -> None:
        self.database.kill()
        time.sleep(self.chance.uniform(0, 0.5))
        self.database.start()

    def fill(self) -> None:
        machine = self.fleet[0]
        machine.fill(self.chance.choice((0, 64)))
        time.sleep(self.chance.uniform(0.5, 1.5))
        machine.empty()

    def skew(self) -> None:
        """A machine is killed, and comes back with a clock that is five minutes off."""
        number = self.pick()
        with self._busy:
            self.fleet[number].kill()
            self.ahead_s[number] = self.chance.choice((-SKEW_S, 0.0, SKEW_S))
            self.start(number)
        self.ready(number)

    def other_version(self) -> None:
        """A machine is killed, and comes back with another version of the workflow."""
        number = self.pick()
        with self._busy:
            self.fleet[number].kill()
            self.runs_version[number] = 3 - self.runs_version[number]
            self.start(number)
        self.ready(number)

    def switch_off(self) -> None:
        """A version's model is switched off for everybody, and on again."""
        version = self.chance.choice((1, 2))
        name = f"model:ollama:desk-{version}"
        self._operate(lambda switch: switch.off(name, reason="a fault", by="campaign"))
        since = datetime.now(UTC) + timedelta(seconds=SEEN_S)
        time.sleep(self.chance.uniform(2, 3))
        self.off.append((version, since, datetime.now(UTC)))
        self._operate(lambda switch: switch.on(name))

    def _operate(self, work: Callable[[KillSwitch], object]) -> None:
        """As an operator does, who tries again where a connection from before a restart is of no use any more."""
        for _ in range(_LOOKS):
            try:
                work(KillSwitch())
            except RunError:
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("nothing can be switched")

    # --- the whole ---

    def play(self, faults: list[str]) -> dict[str, Any]:
        for number in range(self.machines):
            self.start(number)
        for number in range(self.machines):
            self.ready(number)
        traffic = Traffic(self.up, self.seed, poison=max(1, len(faults) // 60), spender=40 + len(faults) // 2)
        watcher = threading.Thread(target=self.watch, daemon=True)
        watcher.start()
        traffic.start()
        played = Counter[str]()
        try:
            for number, name in enumerate(faults, 1):
                # there must be something to lose, however slow the machines are
                for _ in range(_LOOKS):
                    if len(traffic.accepted) >= number:
                        break
                    time.sleep(0.05)
                time.sleep(self.chance.uniform(0.1, 0.6))
                FAULTS[name](self)
                played[name] += 1
            time.sleep(1)
            traffic.stop()
            left = traffic.settle()
            self._stopped = True
            watcher.join()
            for machine in self.fleet:
                machine.stop()
        finally:
            self._stopped = True
            for machine in self.fleet:
                machine.kill()
        return self.verdict(traffic, left, played)

    def verdict(self, traffic: Traffic, left: list[Order], played: Counter[str]) -> dict[str, Any]:
        counted, orders = self.desk.counted, traffic.orders
        by_name = {order.name: order for order in orders}
        spent = Counter[str]()
        for name, calls in counted.model_calls.items():
            spent[by_name[name].person] += calls
        answered = [order for order in orders if order.status == "answered"]
        audits = {machine.folder.name: verify(machine.home / "audit") for machine in self.fleet}
        return {
            "faults": dict(played),
            "deaths by poison and disk": self.restarts["ended by itself"],
            "orders": len(orders),
            "accepted": len(traffic.accepted),
            "ended": dict(Counter(order.status for order in traffic.accepted)),
            "model calls": counted.model_calls.total(),
            "model calls repeated": sum(calls - 1 for calls in counted.model_calls.values() if calls > 1),
            "orders placed": sum(bool(keys) for keys in counted.keys.values()),
            "calls with a known key": counted.asked_again,
            "spender": spent["spender"],
            "broken": {
                "lost": [[order.name, order.kind, order.status, order.run] for order in left],
                "repeated effects": [name for name, keys in counted.keys.items() if len(keys) > 1],
                "answered without effect": [order.name for order in answered if not counted.keys.get(order.name)],
                "poison that got through": [
                    order.name for order in orders if order.kind == "poison" and counted.keys.get(order.name)
                ],
                "asked though switched off": [
                    [version, str(at)]
                    for at, version in counted.model_times
                    if any(version == str(off) and since < at < until for off, since, until in self.off)
                ],
                "overspent": {
                    person: round(calls * CALL_USD, 4)
                    for person, calls in spent.items()
                    if calls * CALL_USD > CAP_USD + 1e-9
                },
                "audit": {name: list(map(str, each.findings)) for name, each in audits.items() if each.findings},
            },
        }  # fmt: skip


FAULTS: dict[str, Callable[[Campaign], None]] = {
    "kill -9 of a process": Campaign.kill,
    "SIGTERM of a process": Campaign.terminate,
    "pause of a process": Campaign.pause,
    "pause of a process that is given up meanwhile": Campaign.pause_and_replace,
    "cable of a machine cut": Campaign.cut,
    "machine cut from the database": Campaign.cut_from_database,
    "kill -9 of PostgreSQL, and a restart": Campaign.kill_database,
    "disk full": Campaign.fill,
    "kill -9, back with a clock 5 minutes off": Campaign.skew,
    "kill -9, back with another version": Campaign.other_version,
    "version switched off": Campaign.switch_off,
}
WEIGHTS = {"kill -9 of a process": 3.0, "disk full": 0.5, "SIGTERM of a process": 0.5}


def schedule(count: int, seed: int) -> list[str]:
    """So many faults: each kind at least once where there is room, then by chance."""
    chance, names = random.Random(seed), [*FAULTS]
    once = chance.sample(names, min(count, len(names)))
    rest = chance.choices(names, [WEIGHTS.get(name, 1.0) for name in names], k=count - len(once))
    chance.shuffle(rest)
    return once + rest


def play(folder: Path, faults: int, seed: int, servers: int, workers: int) -> dict[str, Any]:
    """Play a campaign in this process, which leaves the network that it was started in."""
    network.isolate()
    campaign = Campaign(folder, seed, servers, workers)
    try:
        return campaign.play(schedule(faults, seed))
    finally:
        for machine in campaign.fleet:
            if machine.cable:
                machine.cable.close()
        campaign.database.stop()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name, default in (("faults", 12), ("seed", 1), ("servers", 2), ("workers", 2)):
        options.add_argument(f"--{name}", type=int, default=default)
    given = options.parse_args()
    print(json.dumps(play(given.folder, given.faults, given.seed, given.servers, given.workers), indent=1))
    sys.stdout.flush()
    # clients and desk are threads
    os._exit(0)


if __name__ == "__main__":
    main()
