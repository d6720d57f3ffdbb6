"""What many outcomes come to, as data and for a person."""

import io
from typing import Any

import pytest
from rich.console import Console

from sluicegate.cli.outcome import print_summary, summary


def outcome(path: str, *, usd: float = 0.0, all_llm_usd: float = 0.002, llm_calls: int = 0) -> dict[str, Any]:
    model = "openai:large" if llm_calls else "embedded:small"
    return {"path": path, "usd": usd, "all_llm_usd": all_llm_usd, "llm_calls": llm_calls, "model": model}


OUTCOMES = [
    outcome("rag-llm", usd=0.003, llm_calls=1),
    outcome("rag-slm"),
    outcome("cache", all_llm_usd=0.001),
    outcome("cache", all_llm_usd=0.0005),
]


def test_cache_hits_and_what_they_saved() -> None:
    found = summary(OUTCOMES)
    assert (found["requests"], found["without_llm"], found["cache_hits"]) == (4, 3, 2)
    assert found["cache_saved_usd"] == pytest.approx(0.0015)
    assert found["usd"] == pytest.approx(0.003)
    page = io.StringIO()
    print_summary(OUTCOMES, screen=Console(file=page, width=120, highlight=False))
    shown = page.getvalue()
    assert "answered from the cache: 2, which saved about $0.00150 against asking the large model each time" in shown
    assert "large-model calls avoided: 3 of 4 requests (75%)" in shown


def test_nothing_is_said_of_a_cache_that_served_nothing() -> None:
    page = io.StringIO()
    print_summary(OUTCOMES[:2], screen=Console(file=page, width=120, highlight=False))
    assert "cache" not in page.getvalue()
    assert summary(OUTCOMES[:2])["cache_saved_usd"] == 0
