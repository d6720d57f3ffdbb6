"""The config block `router:`."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "CascadeConfig",
    "EscalationTarget",
    "JointConfig",
    "Languages",
    "OnDrift",
    "Per",
    "RouterConfig",
    "Strategy",
    "Target",
]

Strategy = Literal["head", "slm", "cascade"]
Per = Literal["all", "intent"]
"""Whether one threshold serves, or one per intent (`routing.calibration.per_intent`)."""


Languages = Literal["calibrated", "embedder"]
"""Languages in which a label may be trusted."""


class Target(BaseModel):
    """Maximum error rate of accepted decisions, and its confidence level."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    error: float = Field(default=0.05, gt=0, lt=1)
    """Largest share of accepted requests that may carry a wrong label."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Probability, over the draw of the calibration data, with which `error` is held."""
    per: Per = "all"
    """What `error` bounds: ``all``, the wrong share of everything accepted together; ``intent``, the wrong share of
    each intent whose calibration rows suffice for a threshold of its own, and that of the other intents together. It
    guarantees more and accepts less."""


class CascadeConfig(BaseModel):
    """When the small model gives a second opinion on the label."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    share: float = Field(default=0.1, gt=0, le=1)
    """Largest share of requests that may be sent to the small model, those of the lowest confidence."""
    shortlist: int = Field(default=5, ge=2, le=50)
    """How many of the head's most likely labels the small model chooses between."""


class EscalationTarget(BaseModel):
    """Where `router.escalation_threshold` is set: by quality, or by cost."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    recover: float | None = Field(default=None, gt=0, lt=1)
    """Quality: the share of what the large model would gain on all requests that escalation must recover."""
    share: float | None = Field(default=None, gt=0, lt=1)
    """Cost: the largest share of requests that may be sent to the large model."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.recover is None) == (self.share is None):
            raise ValueError("set exactly one of `recover` (quality) and `share` (cost)")
        return self


OnDrift = Literal["stage-wise", "low-confidence"]
"""Which thresholds serve while those chosen together are not to be trusted."""


class JointConfig(BaseModel):
    """Thresholds chosen together, under one bound on all that goes out unasked."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    artifact: str
    """Folder of the thresholds, relative to the workflow's folder; written by `sluicegate router fit WORKFLOW --task
    joint`. They replace `router.threshold`, `router.escalation_threshold` and `answer.threshold`, as far as conditions
    read them."""
    error: float = Field(default=0.1, gt=0, lt=1)
    """Largest share of wrong ones among the requests that end without a person, answered or refused."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Probability, over the draw of the graded requests, with which `error` is held."""
    on_drift: OnDrift = "stage-wise"
    """What serves while an incident says that requests have drifted, and where the thresholds were fitted to another
    workflow: ``stage-wise``, each stage's own thresholds; ``low-confidence``, the low-confidence branch for every
    request."""


class RouterConfig(BaseModel):
    """The router that classifies requests, and the confidence from which it is trusted."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    artifact: str | None = None
    """Folder of the fitted router, relative to the workflow's folder; written by `sluicegate router fit`. Needed by the
    strategies ``head`` and ``cascade``."""
    strategy: Strategy = "head"
    """``head``: the fitted linear head, a few milliseconds. ``slm``: label decoding on the small model, for labels
    without examples. ``cascade``: the head first, the small model where it is unsure."""
    target: Target = Target()
    """The error bound that the threshold is fitted to."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """A threshold set by hand, in place of the artifact's fitted one. It carries no guarantee, and reports say so; for
    ``slm``, which has none fitted, 0.8 unless given."""
    out_of_scope: str | None = None
    """The intent that stands for "none of these". Without it, the one whose task is ``out-of-scope``, if any."""
    slm: str = "slm"
    """Role of the model that decodes labels under ``slm`` and ``cascade``."""
    embedder: str = "embedder"
    """Role of the model that embeds requests."""
    languages: Languages = "calibrated"
    """``calibrated``: in a language that the calibration rows do not have no label reaches its threshold, as nothing is
    proved there. ``embedder``: a language that the embedder knows has the threshold of the others, unproved."""
    embeddings: bool = True
    """False fits a head on words and characters alone: thousands of requests a second, no embedding model."""
    answers: str | None = None
    """Folder of the fitted confidences in answers: one for each model and style, and one for the quotations of all;
    relative to the workflow's folder, written by `sluicegate router fit WORKFLOW --task answer`. They give
    `answer.threshold`. Without one for the model that answers, a confidence orders answers, uncalibrated, and none
    reaches the threshold."""
    answer_target: Target = Target(error=0.2)
    """The error bound that `answer.threshold` is fitted to: how often an answer of the small model that goes out may be
    wrong."""
    escalation: str | None = None
    """Folder of the fitted escalation, relative to the workflow's folder; written by `sluicegate router fit WORKFLOW
    --task escalate`. It gives `router.needs_large` and `router.escalation_threshold`."""
    escalation_target: EscalationTarget = EscalationTarget(recover=0.8)
    """The quality or the cost that `router.escalation_threshold` is set for; another one needs no new fit."""
    joint: JointConfig | None = None
    """Thresholds of all stages chosen together; without it each stage has its own."""
    cascade: CascadeConfig = CascadeConfig()
    """Bounds on the small model's part under ``cascade``."""

    @property
    def artifacts(self) -> dict[str, str]:
        """The named artifact folders, by their keys."""
        named = {"artifact": self.artifact, "answers": self.answers, "escalation": self.escalation}
        if self.joint is not None:
            named["joint"] = self.joint.artifact
        return {key: folder for key, folder in named.items() if folder is not None}

    @model_validator(mode="after")
    def _artifact_where_needed(self) -> Self:
        if self.strategy != "slm" and self.artifact is None:
            raise ValueError(f"strategy {self.strategy!r} needs an artifact; fit one with `sluicegate router fit`")
        return self
