"""What OpenAI's API adds to a call of the server's own, on models that answer at once.

    python benchmarks/openai_api.py [--record]

One server on the loopback address, one call after another on a kept connection. Each round holds a conversation of
`TURNS` turns in every way, in an order that changes from turn to turn; the ways differ in nothing but the endpoint. A
call of Chat Completions brings the whole history, and is recognised by it. What a way adds is the difference from
`POST /v1/runs` in the same turn of the same round.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.results import record, table
from tests.support import stand
from tests.support.openai_clients import MODEL, conversational

ROUNDS, TURNS = 60, 4
Call = Callable[[str], None]


def ways(client: httpx.Client, name: str) -> dict[str, Call]:
    """How a turn of a new conversation is asked, in each way."""
    history: dict[str, list[dict[str, str]]] = {"chat": [], "stream": []}
    last: list[str] = []

    def sent(path: str, body: dict[str, Any]) -> str:
        response = client.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.text

    def runs(text: str) -> None:
        sent("/v1/runs", {"text": text, "session": name})

    def chat(text: str) -> None:
        said = json.loads(sent("/v1/chat/completions", _asked(history["chat"], text)))
        history["chat"].append(said["choices"][0]["message"])

    def stream(text: str) -> None:
        said = sent("/v1/chat/completions", {**_asked(history["stream"], text), "stream": True})
        chunks = [json.loads(line[6:]) for line in said.split("\n\n") if line and "[DONE]" not in line]
        answer = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        history["stream"].append({"role": "assistant", "content": answer})

    def responses(text: str) -> None:
        more = {"previous_response_id": last[-1]} if last else {}
        last.append(json.loads(sent("/v1/responses", {"model": MODEL, "input": text, **more}))["id"])

    return {
        "`POST /v1/runs`": runs,
        "`POST /v1/chat/completions`": chat,
        "the same, streaming": stream,
        "`POST /v1/responses`": responses,
    }


def _asked(messages: list[dict[str, str]], text: str) -> dict[str, Any]:
    messages.append({"role": "user", "content": text})
    return {"model": MODEL, "messages": messages}


def measured() -> Iterator[dict[str, float]]:
    """The milliseconds of each way, turn by turn."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stand.served(stand.service(conversational(Path(folder) / "flow"))) as client,
    ):
        for number in range(-2, ROUNDS):
            asking = ways(client, f"round {number}")
            for turn in range(TURNS):
                took: dict[str, float] = {}
                names = [*asking]
                first = (number + turn) % len(names)
                for name in names[first:] + names[:first]:
                    started = time.perf_counter()
                    asking[name](f"How do I reset it, {turn}?")
                    took[name] = (time.perf_counter() - started) * 1000
                if number >= 0:
                    yield took


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["SLUICEGATE_HOME"] = home
        took = [*measured()]
    own, *others = took[0]
    # other work on the machine only adds to times
    quiet = {name: quantiles((each[name] for each in took), n=10)[0] for name in took[0]}
    rows: list[tuple[str, ...]] = [(own, f"{quiet[own]:.1f}", "", "")]
    for name in others:
        added = median(each[name] - each[own] for each in took)
        ratio = median(each[name] / each[own] for each in took)
        rows.append((name, f"{quiet[name]:.1f}", f"{added:+.2f}", f"{ratio:.2f}"))
    made = table(("call", "ms", "ms added", "ratio"), *rows)
    print(json.dumps(made, indent=1))
    if "--record" in sys.argv:
        record(
            "openai_api",
            "OpenAI's API",
            f"{ROUNDS} conversations of {TURNS} turns in each way, on models that answer at once: what its endpoints "
            "add to the server's own. The time is the first decile, since the machine has other work; what is added is "
            "the median of the differences, and of the ratios, in the same turn of the same round.",
            [made],
        )


if __name__ == "__main__":
    main()
