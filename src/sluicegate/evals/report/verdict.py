"""A decision on a challenger as JSON and as an HTML page."""

from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from typing import Any

from sluicegate.evals.promotion.gates import PromotionDecision, counted
from sluicegate.evals.promotion.plan import Goal
from sluicegate.evals.report.figures import forest_plot, sequence_plot
from sluicegate.evals.report.html import Link, document, section, table
from sluicegate.evals.shadow.pairs import Registration

__all__ = ["READING", "as_json", "forest", "gate_rows", "html", "progress_plots", "withheld_note"]


def as_json(decision: PromotionDecision, at: Registration) -> dict[str, Any]:
    """Plain data, without the drawings' intermediate steps."""
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        **at.compared,
        "pairs": decision.pairs,
        "days": decision.days,
        "withheld": decision.withheld,
        "gates": [asdict(gate) for gate in decision.gates],
        "slices": [{**row, "bounds": asdict(row["bounds"])} for row in decision.slices],
        "regressions": decision.regressions,
    }


def gate_rows(decision: PromotionDecision) -> list[list[str]]:
    """Gate, what, state, champion, challenger, reason: a line per gate."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    return [
        [gate.kind, gate.name, gate.state, number(gate.champion), number(gate.challenger), gate.reason]
        for gate in decision.gates
    ]


def withheld_note(decision: PromotionDecision) -> str:
    """In how many pairs the challenger was not shown all that the champion had."""
    pairs = counted(decision.withheld, "pair")
    return f"In {pairs} the challenger's policies withheld from the requester a passage that the champion used."


READING = (
    "Differences are challenger less champion, positive where the challenger is better; capped metrics are shares of "
    "their cap. Squares are means, bars confidence intervals that hold at every look, dashes the limit that the lower "
    "end must pass. Slices are shown but not decided on."
)
"""How to read `forest`."""


def forest(decision: PromotionDecision) -> str:
    """The differences in all and by slice, as SVG; empty when there are none."""
    rows = [
        *(
            (f"all · {gate.name} ({gate.kind})", gate.bounds, gate.threshold)
            for gate in decision.gates
            if gate.bounds and gate.threshold is not None and gate.kind in ("no worse", "better")
        ),
        *((f"{row['slice']} · {row['metric']}", row["bounds"], row["threshold"]) for row in decision.slices),
    ]
    return forest_plot(rows, title="differences") if rows else ""


def progress_plots(decision: PromotionDecision, at: Registration) -> list[tuple[str, str]]:
    """Each compared metric, and its bounds over the pairs as SVG."""
    least = {
        item.metric: item.by if isinstance(item, Goal) else -item.margin for item in (*at.plan.guardrails, at.plan.goal)
    }
    return [
        (name, sequence_plot(steps, least[name], title=f"{name} over the pairs"))
        for name, steps in decision.sequence.items()
        if steps
    ]


def html(decision: PromotionDecision, at: Registration, traces: Mapping[str, str] | None = None) -> str:
    """The page. `traces` are the addresses of runs' traces; one without is shown by its id."""
    tones = {"passed": "+ ", "failed": "! ", "open": ""}
    gates = [[kind, name, tones[state] + state, *rest] for kind, name, state, *rest in gate_rows(decision)]
    worst = [
        [
            f"{row['loss']:.2f}",
            ", ".join(
                [
                    *row["events"],
                    *(f"{name} {value:+.2f}" for name, value in row["differences"].items()),
                    *(f"{name} withheld" for name in row["withheld"]),
                ]
            ),
            row.get("request", ""),
            *(_run(row[side], traces or {}) for side in ("champion_run", "challenger_run")),
        ]
        for row in decision.regressions
    ]
    over = f"{counted(decision.pairs, 'pair')} of {counted(decision.days, 'day')}"
    facts = (
        f"<p>{at.champion_digest[:12]} (champion) against {at.challenger_digest[:12]} (challenger) under the plan "
        f"{at.plan_digest[:12]}; {over}, error {at.plan.error:g}.</p>"
    )
    if decision.withheld:
        facts += f"<p>{escape(withheld_note(decision))}</p>"
    return document(
        f"{decision.verdict}: {at.workflow}, {at.plan.plan}",
        [
            f"<p><strong>{escape(decision.reason)}</strong></p>",
            facts,
            section("Gates", table(["gate", "of", "state", "champion", "challenger", "why"], gates)),
            section("Differences by slice", f"<p>{READING}</p>", forest(decision)),
            section("Progress", *(f"<h3>{name}</h3>{plot}" for name, plot in progress_plots(decision, at))),
            section(
                "Ten worst regressions",
                table(["loss", "metrics", "request", "champion's run", "challenger's run"], worst),
                "<p>See a run: <code>sluicegate trace show RUN</code></p>" if worst else "",
            ),
        ],
    )


def _run(run: str, traces: Mapping[str, str]) -> str | Link:
    return Link(run, traces[run]) if run in traces else run or "no run"
