"""Evaluation of workflows, shadow runs and promotion."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate.evals.evaluation.baselines import opened_variant
    from sluicegate.evals.evaluation.cases import read_cases
    from sluicegate.evals.evaluation.evaluate import conditions, evaluate
    from sluicegate.evals.evaluation.summary import summarise
    from sluicegate.evals.promotion import champions
    from sluicegate.evals.promotion.gates import decide
    from sluicegate.evals.promotion.plan import read_plan
    from sluicegate.evals.report.figures import forest_plot, sequence_plot
    from sluicegate.evals.report.report import Report, html
    from sluicegate.evals.shadow.pairs import PairStore
    from sluicegate.evals.shadow.shadow_backfill import work
else:
    from sluicegate.lazy_modules import lazy_face

    __getattr__, __dir__ = lazy_face(
        __name__,
        {
            "evaluation.baselines": ("opened_variant",),
            "evaluation.cases": ("read_cases",),
            "evaluation.evaluate": ("conditions", "evaluate"),
            "evaluation.summary": ("summarise",),
            "promotion": ("champions",),
            "promotion.gates": ("decide",),
            "promotion.plan": ("read_plan",),
            "report.figures": ("forest_plot", "sequence_plot"),
            "report.report": ("Report", "html"),
            "shadow.pairs": ("PairStore",),
            "shadow.shadow_backfill": ("work",),
        },
    )

__all__ = [
    "PairStore",
    "Report",
    "champions",
    "conditions",
    "decide",
    "evaluate",
    "forest_plot",
    "html",
    "opened_variant",
    "read_cases",
    "read_plan",
    "sequence_plot",
    "summarise",
    "work",
]
