"""Who sends orders to the machines while they are treated badly, and asks afterwards what became of each.

A client behaves as a good program does: it sends the same request id again, to any machine, until it is told that its
request was accepted; from then on it only asks. A lead approves whatever waits for a person.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

__all__ = ["Order", "Traffic"]

_ENDED = ("answered", "refused")
_LOOKS = 300
_PER_PERSON = 12
"""Orders of one person; the ledger's cap is each person's."""


@dataclass
class Order:
    number: int
    person: str
    kind: str
    """``plain``, ``ask first``, ``poison``, or ``spender``, who orders for more than the cap allows."""
    run: str = ""
    """Its run, once it was accepted."""
    status: str = ""
    text_of_answer: str = ""
    sent: int = 0

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def text(self) -> str:
        return f"Please place order {self.name} now" + (
            f", {self.kind}" if self.kind in ("ask first", "poison") else ""
        )

    @property
    def ended(self) -> bool:
        return self.status in _ENDED


@dataclass
class Traffic:
    """Clients in threads of this process, from `start` to `stop`."""

    addresses: Callable[[], Sequence[str]]
    """Of the servers that are believed to be up."""
    seed: int
    clients: int = 3
    poison: int = 1
    """How many orders are poison."""
    spender: int = 0
    """How many orders the person sends who has no money for all."""
    orders: list[Order] = field(default_factory=list[Order])
    pause_s: float = 0.05

    def __post_init__(self) -> None:
        self._chance, self._lock = random.Random(self.seed), threading.Lock()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self.clients)]
        self._threads.append(threading.Thread(target=self._approve, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> list[Order]:
        with self._lock:
            return [order for order in self.orders if order.run]

    # --- one call ---

    def call(
        self, method: str, path: str, person: str, *, role: str = "employee", **more: Any
    ) -> httpx.Response | None:
        """At one of the machines; None when it does not answer."""
        addresses = self.addresses()
        if not addresses:
            time.sleep(0.1)
            return None
        with self._lock:
            address = self._chance.choice(addresses)
        try:
            return httpx.request(
                method, f"http://{address}{path}", headers={"x-user": person, "x-roles": role}, trust_env=False,
                timeout=httpx.Timeout(4.0, connect=1.0), **more,
            )  # fmt: skip
        except httpx.HTTPError:
            time.sleep(0.1)
            return None

    def send(self, order: Order) -> bool:
        """Send it once; whether it is accepted now."""
        order.sent += 1
        reply = self.call("POST", "/v1/runs", order.person, json={"text": order.text, "request_id": order.name})
        if reply is None or reply.status_code not in (200, 202):
            return False
        self._note(order, reply.json())
        return True

    def look(self, order: Order) -> int:
        """Ask what has become of it; the status of HTTP, 0 for no answer."""
        reply = self.call("GET", f"/v1/runs/{order.run}", order.person)
        if reply is not None and reply.status_code == 200:
            self._note(order, reply.json())
        return reply.status_code if reply is not None else 0

    def decide(self, order: Order) -> None:
        self.call(
            "POST", f"/v1/approvals/{order.run}", "lea", role="lead", json={"verdict": "approve", "changed": "kept"}
        )

    def _note(self, order: Order, said: dict[str, Any]) -> None:
        with self._lock:
            order.run, order.status, order.text_of_answer = said["run"], said["status"], said.get("answer", "")

    # --- the threads ---

    def _next(self) -> Order:
        with self._lock:
            number = len(self.orders)
            kind = self._chance.choices(("plain", "ask first", "spender"), (70, 25, 20 if self.spender else 0))[0]
            if self.poison and number and number % 40 == 0:
                kind, self.poison = "poison", self.poison - 1
            if kind == "spender":
                self.spender -= 1
            person = "spender" if kind == "spender" else f"person-{number // _PER_PERSON}"
            order = Order(number, person, kind)
            self.orders.append(order)
            return order

    def _send(self) -> None:
        while not self._stopping.is_set():
            order = self._next()
            while not self.send(order) and not self._stopping.is_set():
                # its request kills whoever takes it up: once is enough
                if order.kind == "poison" and order.sent > 1:
                    break
                time.sleep(0.05)
            for _ in range(40):
                if order.ended or order.status == "waiting" or not order.run or self._stopping.is_set():
                    break
                time.sleep(0.05)
                self.look(order)
            time.sleep(self.pause_s)

    def _approve(self) -> None:
        while not self._stopping.is_set():
            waiting = [order for order in self.accepted if order.status == "waiting"]
            for order in waiting[-20:]:
                self.decide(order)
                self.look(order)
                if self._stopping.is_set():
                    return
            time.sleep(0.1)

    # --- afterwards ---

    def settle(self) -> list[Order]:
        """Look until every accepted order has ended, deciding what waits; those that have not after `_LOOKS`.

        An order of which a run says that it failed is sent once more, as its client would; what is poison need not end.
        """
        resent, left = set[int](), list[Order]()
        for _ in range(_LOOKS):
            left = [order for order in self.accepted if not order.ended and order.kind != "poison"]
            if not left:
                break
            for order in left:
                self.look(order)
                if order.status == "waiting":
                    self.decide(order)
                elif order.status == "failed" and order.number not in resent:
                    resent.add(order.number)
                    self.send(order)
            time.sleep(0.2)
        return left
