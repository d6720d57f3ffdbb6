"""How outcomes are shown: as JSON, as a block of lines in the terminal, and several as a summary."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sluicegate.cli._support.console import console
from sluicegate.run_summary import compared

if TYPE_CHECKING:
    from rich.console import Console

    from sluicegate.graphs.runtime.outcome import Outcome

__all__ = ["StreamedAnswer", "as_json", "print_outcome", "print_summary", "proposed", "summary", "until"]

_COLOURS = {
    "cache": "cyan",
    "slm": "green",
    "rag-slm": "green",
    "tool": "green",
    "rag-llm": "yellow",
    "human": "magenta",
    "refused": "red",
}


def as_json(outcome: "Outcome", *, all_llm_usd: float | None, answer_text: str | None = None) -> dict[str, Any]:
    """One outcome as plain data; `answer_text` replaces the answer where its reader may see more of it.

    `all_llm_usd` is None where the workflow has no large model to compare with.
    """
    state, summary = outcome.state, outcome.summary
    found: dict[str, Any] = {
        "run": summary.run,
        "status": summary.status,
        "path": summary.path or "",
        "request": summary.request,
        "requester": dict(state["principal"]),
        "intent": summary.intent,
        "risk": summary.risk,
        "confidence": summary.confidence,
        "threshold": summary.threshold,
        "tags": state.get("tags"),
        "answer": summary.sent if answer_text is None else answer_text,
        "citations": [] if outcome.waiting else summary.citations,
        "model": summary.model or "",
        "fallback": summary.fallback or "",
        "answer_confidence": summary.answer_confidence,
        "cache": state.get("cache"),
        "policy": state.get("policy"),
        "checks": state.get("checks"),
        "tool_calls": state.get("tool_calls", []),
        "edited": outcome.edited,
        "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens,
        "llm_calls": summary.llm_calls,
        "slm_calls": summary.slm_calls,
        "usd": summary.usd,
        "estimated_usd": summary.estimated_usd,
        "stopped_by": summary.stopped_by,
        "all_llm_usd": all_llm_usd,
        "ms": round(outcome.ms, 1),
        "waiting": outcome.waiting,
        "way": summary.way,
    }
    if outcome.withheld:
        found |= {"withheld": outcome.withheld, "answer": "", "citations": [], "cache": None, "checks": None}
        found |= {"tool_calls": [], "edited": None}
    return found


class StreamedAnswer:
    """An answer that is printed as it comes, before its outcome."""

    def __init__(self) -> None:
        self._text = ""

    def __call__(self, piece: str) -> None:
        self._text += piece
        _print_raw(piece)

    def complete(self, said: dict[str, Any]) -> bool:
        """Print the rest of it; whether the outcome has that answer, which then need not be printed again."""
        rest = said["answer"].removeprefix(self._text) if not said["waiting"] and not said.get("withheld") else ""
        same = bool(self._text) and self._text + rest == said["answer"]
        if self._text:
            _print_raw(rest + "\n\n" if same else " […]\n\n")
        return same


def _print_raw(text: str) -> None:
    console().print(text, end="", markup=False, highlight=False, soft_wrap=True)


def _as(person: Mapping[str, Any]) -> str:
    """The options of a command that say who somebody is, where they are not its defaults."""
    given = [("--as", person["id"])] if person["id"] != "me" else []
    given += [("--role", role) for role in person["roles"] if person["roles"] != ["employee"]]
    given += [("--group", group) for group in person["groups"]]
    given += [("--clearance", person["clearance"])] if person["clearance"] != "internal" else []
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given)


def print_outcome(
    said: dict[str, Any], *, screen: "Console | None" = None, early: StreamedAnswer | None = None
) -> None:
    """One outcome for a person; without its answer where `early` has printed that."""
    from rich.markup import escape
    from rich.padding import Padding

    screen = screen or console()
    printed = early is not None and early.complete(said)
    screen.print(f"[bold]{escape(_one_line(said['request']))}[/bold]")
    colour = _COLOURS.get(said["path"], "white")
    if said["intent"]:
        sure = compared(said["confidence"], said["threshold"])
        screen.print(f"  intent    {said['intent']}  confidence {sure}  risk {said['risk']}")
    if said["tags"] and said["tags"]["found"]:
        scores = said["tags"]["scores"]
        screen.print(f"  tags      {', '.join(f'{tag} {scores[tag]:.2f}' for tag in said['tags']['found'])}")
    way = [*said["way"], said["waiting"]["node"]] if said["waiting"] else said["way"]
    screen.print(f"  path      [{colour}]{said['path']}[/{colour}]  {' → '.join(way)}")
    if said["cache"] and said["cache"].get("question"):
        # the cached answer was given to another wording: show which
        screen.print(f"  cached as {escape(_one_line(said['cache']['question']))}")
    if said["waiting"] and said["waiting"]["waits_for"] == "answer":
        screen.print(f"  asks      {escape(said['waiting']['reason'])}")
        by = until(said["waiting"]["deadline"])
        command = f"sluicegate answer {said['run']} TEXT{_as(said['requester'])}"
        screen.print(f"  answer    {escape(command)}, until {by}", soft_wrap=True)
    elif said["waiting"] and said["waiting"]["waits_for"] == "time":
        screen.print(f"  waiting   until {until(said['waiting']['deadline'])}")
    elif said["waiting"]:
        waiting = said["waiting"]
        screen.print(
            f"  waiting   for {waiting['approvers']} until {until(waiting['deadline'])}: {escape(waiting['reason'])}"
        )
        if waiting["proposal"]:
            screen.print("  proposal")
            screen.print(Padding(escape(proposed(waiting["proposal"])), (0, 2, 0, 12)))
        screen.print(f"  decide    sluicegate approvals show {said['run']}", soft_wrap=True)
    elif not printed:
        screen.print("  withheld" if said.get("withheld") else "  answer")
        screen.print(Padding(escape(said.get("withheld") or said["answer"]), (0, 2, 0, 12)))
    if said["citations"]:
        cited = ", ".join(f"{c['marker']} {c['document']}@{c['version']}" for c in said["citations"])
        screen.print(f"  sources   {escape(cited)}")
    if said["model"]:
        screen.print(f"  model     {escape(said['model'])}" + (" [dim](fallback)[/dim]" if said["fallback"] else ""))
    tokens = said["prompt_tokens"] + said["completion_tokens"]
    reserved = f" of ${said['estimated_usd']:.5f} reserved" if said["estimated_usd"] else ""
    alone = said["all_llm_usd"]
    spent = f"${said['usd']:.5f}{reserved}" + ("" if alone is None else f" (all-LLM ${alone:.5f})")
    screen.print(f"  cost      {tokens} tokens, {spent}, {said['ms'] / 1000:.2f} s")
    if said["stopped_by"]:
        screen.print(f"  LLM call skipped: {escape(said['stopped_by'])}")
    screen.print(f"  run       {said['run']}\n", style="dim")


def summary(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The totals of several outcomes."""
    paths = Counter(said["path"] for said in outcomes)
    alone = [(said["path"], said["all_llm_usd"]) for said in outcomes if said["all_llm_usd"] is not None]
    return {
        "requests": len(outcomes),
        "paths": dict(paths.most_common()),
        "without_llm": sum(1 for said in outcomes if not said["llm_calls"] and "error" not in said),
        "usd": sum(said["usd"] for said in outcomes),
        "all_llm_usd": sum(usd for _, usd in alone) if alone else None,
        "cache_hits": paths["cache"],
        # priced as one large-model call each, without the sources its prompt would have held: an underestimate
        "cache_saved_usd": sum(usd for path, usd in alone if path == "cache") if alone else None,
        # a cached answer names the model that another run called
        "models": dict(
            Counter(said["model"] for said in outcomes if said["model"] and said["path"] != "cache").most_common()
        ),
    }


def print_summary(outcomes: Sequence[dict[str, Any]], *, screen: "Console | None" = None) -> None:
    """The summary for a person."""
    from rich.table import Table

    screen, found = screen or console(), summary(outcomes)
    count = found["requests"]
    if not count:
        return
    table = Table(title="Summary", title_justify="left", show_header=False, box=None, pad_edge=False)
    for path, number in found["paths"].items():
        table.add_row(path, f"{number}", f"{number / count:.0%}", "█" * round(20 * number / count))
    screen.print(table)
    if found["all_llm_usd"] is None:
        screen.print(f"cost: ${found['usd']:.5f}; the workflow has no large model")
    else:
        avoided = f"{found['without_llm']} of {count} requests ({found['without_llm'] / count:.0%})"
        screen.print(f"large-model calls avoided: {avoided}")
        screen.print(
            f"cost: ${found['usd']:.5f}, with the large model for everything: about ${found['all_llm_usd']:.5f}"
        )
    if found["cache_hits"]:
        saved, against = found["cache_saved_usd"], ""
        if saved is not None:
            against = f", which saved about ${saved:.5f} compared with calling the large model each time"
        screen.print(f"answered from the cache: {found['cache_hits']}{against}")
    answered = ", ".join(f"{model} {number}" for model, number in found["models"].items())
    screen.print(f"answered by: {answered or 'no model was needed'}")


def _one_line(text: str, limit: int = 110) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def until(deadline: str) -> str:
    """A deadline from the state, to the minute."""
    return f"{deadline[:10]} {deadline[11:16]} UTC"


def proposed(proposal: dict[str, Any]) -> str:
    """A proposed tool call, as a call expression."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in proposal["arguments"].items() if value)
    missing = f"; missing: {', '.join(proposal['missing'])}" if proposal.get("missing") else ""
    return f"{proposal['tool']}({arguments}){missing}"
