"""A desk that asks back where a request does not say which device it is about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sluicegate.services import Classification
from tests.support.fakes import FakeRouter
from tests.support.redacting import WORKFLOW, Desk

__all__ = ["QUESTION", "VAGUE", "asking_desk"]

VAGUE, QUESTION = "It does not start", "Which device is it?"
_ASK = f"""
  ask: {{kind: ask, say: "{QUESTION}", timeout: 2h, on_timeout: refuse, max_visits: 2, then: classify}}
  gate:"""


@dataclass
class ByDevice(FakeRouter):
    """Vague is what names no device."""

    async def classify(self, text: str) -> Classification:
        self.label = "contact" if "laptop" in text or "printer" in text else "vague"
        return await super().classify(text)


def asking_desk(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, more: str = "conversation: {turns: 3, ttl: 30d}"
) -> Desk:
    made = Desk(folder, monkeypatch)
    made.router = ByDevice("vague")
    vague = "  vague:   {task: short-answer, risk: low, max_tokens: 60}\nrouter:"
    ways = "[{when: \"intent.label == 'vague'\", go: ask}, {otherwise: gate}]"
    text = WORKFLOW.replace("router:", vague, 1).replace("kind: classify, then: gate", f"kind: classify, then: {ways}")
    made.file.write_text(f"{text.replace(chr(10) + '  gate:', _ASK, 1)}{more}\n", encoding="utf-8")
    made.says("It is in the manual.")
    return made


def words(state: Any) -> list[tuple[str, str]]:
    return [(reply["question"], reply["text"]) for reply in state["replies"]]
