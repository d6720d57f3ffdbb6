"""Routing: intents, calibrated confidence, and the thresholds from which the small model may answer."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate.routing.data import read_labelled
    from sluicegate.routing.intent.artifact import read_artifact, write_artifact
    from sluicegate.routing.intent.explain import explain_text, targets
    from sluicegate.routing.intent.fit import FitSettings, fit_intents
    from sluicegate.routing.intent.router import FittedRouter
    from sluicegate.routing.monitoring.plots import reliability_svg
    from sluicegate.routing.monitoring.report import report_intents
else:
    from sluicegate.lazy_modules import lazy_face

    __getattr__, __dir__ = lazy_face(
        __name__,
        {
            "data": ("read_labelled",),
            "intent.artifact": ("read_artifact", "write_artifact"),
            "intent.explain": ("explain_text", "targets"),
            "intent.fit": ("FitSettings", "fit_intents"),
            "intent.router": ("FittedRouter",),
            "monitoring.plots": ("reliability_svg",),
            "monitoring.report": ("report_intents",),
        },
    )

__all__ = [
    "FitSettings",
    "FittedRouter",
    "explain_text",
    "fit_intents",
    "read_artifact",
    "read_labelled",
    "reliability_svg",
    "report_intents",
    "targets",
    "write_artifact",
]
