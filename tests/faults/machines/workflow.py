"""The workflow that the machines run: a paid call of a model, a person for some, one action outside.

A text says what becomes of it: with "ask first" a person decides before the order is placed, and "poison" kills the
process whenever its order is to be placed. "burn 0.2" takes so many seconds of processor time for it.
"""

import hashlib
import os
import re
import resource
import signal
from pathlib import Path
from typing import Any

import httpx

from sluicegate.nodes.tools.tool import Tool, ToolContext, tool

__all__ = ["NAME", "place_order", "written"]

NAME = "orders"
_TEXT = """\
workflow: orders
version: {version}
purpose: Place an order outside, once.
models:
  slm: {{use: "ollama:desk-{version}", base_url: "{desk}", timeout_s: 5, load_timeout_s: 5,
         price_per_mtok: {{input: 5, output: 25}}, breaker_failures: 100}}
intents:
  order: {{task: tool, risk: low, max_tokens: 20, tool: place_order, describe: "wants something ordered"}}
tools: [place_order]
budget: {{per_principal_day_usd: {cap}}}
start: gate
nodes:
  gate:
    kind: policy-check
    then:
      - {{when: "policy.verdict == 'deny'", go: refuse}}
      - {{otherwise: read}}
  read:
    kind: extract
    prompt: order
    max_tokens: 20
    fields:
      type: object
      properties: {{item: {{type: string}}}}
      required: [item]
      additionalProperties: false
    values: {{item: derived}}
    then:
      - {{when: "!extraction.complete", go: refuse}}
      - {{when: "request.text.contains('ask first')", go: approve}}
      - {{otherwise: act}}
  approve:
    kind: human-interrupt
    approvers: role:lead
    timeout: 24h
    then:
      - {{when: "approval.verdict in ['approve', 'edit']", go: act}}
      - {{otherwise: refuse}}
  act:
    kind: call-tool
    tool: place_order
    arguments: {{text: "{{{{question}}}}"}}
    say: "{{{{result.id}}}} by version {version}."
    then:
      - {{when: "tool.ok", go: check}}
      - {{otherwise: sorry}}
  check:
    kind: output-check
    guards: [length]
    then:
      - {{when: "checks.failed", go: refuse}}
      - {{otherwise: respond}}
  respond: {{kind: respond}}
  refuse: {{kind: refuse, say: "No."}}
  sorry: {{kind: refuse, say: "The desk could not be reached."}}
"""


def written(folder: Path, desk: str, *, version: int = 1, cap: float = 1000.0) -> Path:
    """A version of it in `folder`, for models and desk at that address; nobody may spend more than `cap` a day."""
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    prompt = "---\nid: order\nversion: 1\n---\n{{question}}\n{{fields}}\n"
    (folder / "prompts" / "order.md").write_text(prompt, encoding="utf-8")
    path = folder / "workflow.yaml"
    path.write_text(_TEXT.format(version=version, desk=desk, cap=cap), encoding="utf-8")
    return path


def _burn(seconds: float) -> None:
    """Use so much processor time, whatever else this machine does meanwhile."""

    def taken() -> float:
        usage = resource.getrusage(resource.RUSAGE_THREAD)
        return usage.ru_utime + usage.ru_stime

    until = taken() + seconds
    while taken() < until:
        for _ in range(100):
            hashlib.sha256(bytes(1000)).digest()


def place_order(desk: str) -> Tool:
    """The tool, as an installed package would bring it."""
    # a client of each call would read all certificates of the machine: 35 ms of processor
    client = httpx.Client(base_url=desk, timeout=4, trust_env=False)

    @tool("place_order", timeout_s=5.0)
    def place(context: ToolContext, text: str) -> dict[str, Any]:
        """Place the order that the text names."""
        if "poison" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        order = text.split("order ")[1].split()[0]
        if found := re.search(r"burn ([\d.]+)", text):
            _burn(float(found[1]))
        reply = client.post("/orders", json={"order": order, "key": context.key})
        return reply.raise_for_status().json()

    return place
