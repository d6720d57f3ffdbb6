"""The config language as strict models.

Blocks that belong to a room (`models:`, `router:`, `budget:`, …) are that room's models. What a node may have besides
`kind`, `max_visits` and `then` is its kind's settings model; `load` validates it there. Every field's docstring is its
text in the JSON Schema and in the reference.
"""

import functools
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

from sluicegate.graphs.conversations.config import ConversationConfig
from sluicegate.models.config import ModelConfig
from sluicegate.nodes.attempts import Retry
from sluicegate.observe.audit.log import AuditSettings
from sluicegate.observe.tracing.settings import TraceSettings
from sluicegate.policies.config import BudgetConfig, CacheConfig, Duration, LimitsConfig, PolicyConfig
from sluicegate.policies.guards.config import GuardConfig
from sluicegate.retrieval.config import IndexConfig
from sluicegate.routing.config import RouterConfig
from sluicegate.services import IntentFacts
from sluicegate.state import Risk, Task

__all__ = [
    "COMMON_NODE_KEYS",
    "GIVEN_TO_ALL",
    "BranchConfig",
    "ExamplesConfig",
    "GuaranteeConfig",
    "InputConfig",
    "IntentConfig",
    "Name",
    "NodeConfig",
    "WaiverConfig",
    "WorkflowConfig",
    "guard_names",
]

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", max_length=100)]
"""Letters, digits, ``_``, ``-`` and ``.``; starts with a letter."""

GIVEN_TO_ALL = ("question", "language")
"""What every workflow takes of the one that it is a step of."""


def _not_given_to_all(name: str) -> str:
    if name in GIVEN_TO_ALL:
        raise ValueError(f"every workflow takes `{name}`; choose another name")
    return name


InputName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=100), AfterValidator(_not_given_to_all)
]
"""Letters, digits and ``_``; starts with a letter."""

Words = Annotated[str, StringConstraints(min_length=1)]

_OneOrMore = BeforeValidator(
    lambda value: [value] if isinstance(value, str) else value, json_schema_input_type=str | list[str]
)

COMMON_NODE_KEYS = ("kind", "max_visits", "timeout", "retry", "on_error", "then")
"""Keys that every node may have; all others are settings of its kind."""


class Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class InputConfig(Block):
    """One input of a workflow that is a step of another one."""

    type: Literal["string", "number", "integer", "boolean", "array", "object"]
    """Its type, in the words of JSON Schema."""
    describe: str = ""
    """Its meaning, for those who give it."""
    optional: bool = False
    """Whether it may be left out."""


class IntentConfig(Block):
    """One label of the router, and what a request of that class may cost and risk."""

    task: Task
    """What such a request needs; workflows branch on it."""
    risk: Risk = "low"
    """How much harm a wrong answer does; guarantees and policies depend on it."""
    max_tokens: int = Field(default=256, ge=1, le=100_000)
    """Cap on the tokens of one model call for such a request."""
    tool: str | None = None
    """The tool such a request is for."""
    fields: dict[str, str | int | float | bool] = Field(default_factory=dict[str, str | int | float | bool])
    """Arguments of the tool that follow from the intent alone, such as ``{category: hardware}``; a model is not asked
    for them. ``{{question}}`` in a text stands for the request."""
    describe: str = ""
    """What belongs to this intent, in a sentence: for people, and for strategies without examples."""

    def facts(self) -> IntentFacts:
        return IntentFacts(
            task=self.task, risk=self.risk, max_tokens=self.max_tokens, tool=self.tool or "", fields=self.fields
        )


class BranchConfig(Block):
    """One branch: ``{when: CONDITION, go: NODE}``, or ``{otherwise: NODE}`` as the last one."""

    when: Words | None = None
    """A condition in CEL, over the fields in the reference."""
    go: Name | None = None
    """The node to go to when the condition holds."""
    otherwise: Name | None = None
    """The node to go to when no earlier branch is taken."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.otherwise is None and (self.when is None or self.go is None):
            raise ValueError("a branch is {when: CONDITION, go: NODE} or {otherwise: NODE}")
        if self.otherwise is not None and (self.when is not None or self.go is not None):
            raise ValueError("`otherwise` cannot be combined with `when` and `go`; write a separate branch")
        return self

    @property
    def to(self) -> str:
        return self.otherwise or self.go or ""


def _form_of_then(value: Any) -> str:
    return "node" if isinstance(value, str) else "branches"


Then = Annotated[
    Annotated[Name, Tag("node")] | Annotated[tuple[BranchConfig, ...], Tag("branches"), Field(min_length=1)],
    Discriminator(_form_of_then),
]


class NodeConfig(BaseModel):
    """One step of the workflow: its kind, the kind's settings, and the next node."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    kind: str
    """What it does: a built-in kind, or one of an installed package."""
    max_visits: int | None = Field(default=None, ge=1, le=100)
    """How often one run may visit it. A branch to a node whose visits are used up is skipped."""
    timeout: Duration | None = None
    """How long one attempt may take; then it has failed, with the cause `timeout`. By default only the models and tools
    that it calls have limits."""
    retry: Retry | None = None
    """Whether a failed attempt is repeated. All attempts of a visit are one visit."""
    on_error: Name | None = None
    """The node to go to when it has failed and is not tried again, with `failure.*` set and nothing that it would have
    written; by default the run fails."""
    then: Then | None = None
    """The next node, or a list of branches, tried in order. The ends, `respond` and `refuse`, have none."""

    @property
    def branches(self) -> tuple[BranchConfig, ...]:
        if self.then is None:
            return ()
        return (BranchConfig(otherwise=self.then),) if isinstance(self.then, str) else self.then

    @property
    def given(self) -> dict[str, Any]:
        """The keys in the file besides the common ones."""
        return dict(self.__pydantic_extra__ or {})


class GuaranteeConfig(Block):
    """A property of every run, proved on the graph: `no` … `without`, or `every` … `reaches`.

    Nodes are named by their kind, or by what kinds do (`generates`, `calls-tool`, …).
    """

    no: Annotated[tuple[str, ...], _OneOrMore] = ()
    """No run visits one of these,"""
    without: Annotated[tuple[str, ...], _OneOrMore] = ()
    """without having visited one of these before."""
    every: Annotated[tuple[str, ...], _OneOrMore] = ()
    """Every run that visits one of these,"""
    reaches: Annotated[tuple[str, ...], _OneOrMore] = ()
    """visits one of these later, before it ends."""
    after: Annotated[tuple[str, ...], _OneOrMore] = ()
    """With `no`: applies only to runs that visited one of these, and `without` must then come after it."""
    where: Words | None = None
    """With `after` or `every`: a condition on the state as a run leaves that node; where it does not hold,
    the guarantee does not apply."""
    when: Words | None = None
    """A condition over the intent, the principal or the request; the guarantee covers requests for which it is true."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (
            bool(self.no) == bool(self.every)
            or bool(self.no) != bool(self.without)
            or bool(self.every) != bool(self.reaches)
        ):
            raise ValueError("a guarantee is {no: KINDS, without: KINDS} or {every: KINDS, reaches: KINDS}")
        if self.after and not self.no:
            raise ValueError("`after` needs `no` and `without`")
        if self.where and not (self.after or self.every):
            raise ValueError("`where` restricts the nodes of `after` or `every`, and this guarantee has neither")
        return self


class WaiverConfig(Block):
    """A built-in guarantee that this workflow waives, on record."""

    guarantee: str
    """Its name."""
    reason: str
    """Why that is acceptable here. The audit log records it at every start."""


class RetentionConfig(Block):
    """How long records are kept; `sluicegate prune` deletes what is older. The audit log and the answer cache have
    their own settings."""

    runs_days: int = Field(default=30, ge=1)
    """Days for the checkpoints, decisions and tool results of a run after its last step. A run that waits is kept."""
    traces_days: int = Field(default=90, ge=1)
    """Days for the traces of finished runs, their feedback included."""
    results_days: int = Field(default=365, ge=1)
    """Days for evaluations, their results and shadow pairs."""

    def shorter(self, other: "RetentionConfig") -> "RetentionConfig":
        """The shorter time of both for each."""
        return RetentionConfig(**{name: min(days, getattr(other, name)) for name, days in self})


class ExamplesConfig(Block):
    """Files of example requests, relative to the workflow's folder."""

    train: str | None = None
    """Labelled requests to fit the router on: JSONL with `text` and `label`."""
    calibration: str | None = None
    """Labelled requests to calibrate and to fit the threshold on; by default a part of `train` is held out."""
    answers: str | None = None
    """Labelled requests that prove the threshold of confidence in answers; by default those of `calibration`."""
    eval: str | None = None
    """Labelled requests to measure on; never seen in a fit."""
    escalation: str | None = None
    """Logged requests to fit the escalation on: JSONL with `prompt`, `weak_correct` and `strong_correct`."""
    requests: str | None = None
    """Requests to try the workflow with."""


Version = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


class WorkflowConfig(Block):
    """A governed workflow of small and large language models."""

    workflow: Name
    """The workflow's name."""
    version: Annotated[Version, Field(min_length=1, max_length=50, json_schema_extra={"type": ["string", "integer"]})]
    """The version, a whole number or a text such as "2.1". Runs, traces and caches carry it."""
    purpose: Words
    """Its purpose, in a sentence or two."""
    extends: str | None = None
    """A workflow file that this one overlays: maps merge by key, everything else replaces, null removes."""

    inputs: dict[InputName, InputConfig] = Field(default_factory=dict[str, InputConfig])
    """What it is given where it is a step of another workflow, besides the question: `inputs.NAME` in conditions,
    ``{{inputs.NAME}}`` in prompts. A run that is started on its own has none of them."""
    models: dict[Name, ModelConfig] = Field(min_length=1)
    """The models by their role, such as `slm`, `llm` and `embedder`."""
    intents: dict[Name, IntentConfig] = Field(min_length=1)
    """The labels of the router."""
    router: RouterConfig = RouterConfig(strategy="slm")
    """How requests are classified; by default by label decoding on the small model."""
    budget: BudgetConfig = BudgetConfig()
    """What the workflow may spend."""
    limits: LimitsConfig = LimitsConfig()
    """How often models are called and people may ask, and whose requests come first."""
    cache: CacheConfig = CacheConfig()
    """Whether answers may be cached and reused."""
    conversation: ConversationConfig | None = None
    """Whether requests of one session are turns that may refer to each other; by default each stands alone."""
    indexes: dict[Name, IndexConfig] = Field(default_factory=dict[str, IndexConfig])
    """The knowledge that `retrieve` nodes search, by name."""
    prompts: str = "prompts"
    """The folder of prompt files: `ID.md`, Markdown with `id` and `version` in its front matter."""
    policy: PolicyConfig = PolicyConfig()
    """Where the workflow's own Cedar policies are."""
    guards: GuardConfig = GuardConfig()
    """Settings of guards; a guard that is not listed uses its defaults."""
    tracing: TraceSettings = TraceSettings()
    """How much of a run's texts its trace keeps, and under which name, user and tags it is recorded."""
    audit: AuditSettings = AuditSettings()
    """How the audit log is kept."""
    retention: RetentionConfig = RetentionConfig()
    """How long other records are kept."""
    tools: tuple[Name, ...] | None = None
    """The only tools that may be called, by their registered names; by default those that intents and nodes name."""

    start: Name
    """The first node."""
    nodes: dict[Name, NodeConfig] = Field(min_length=1)
    """The steps, by name."""

    guarantees: tuple[GuaranteeConfig, ...] = ()
    """What is proved on the graph before the workflow may start, besides the built-in guarantees."""
    waive: tuple[WaiverConfig, ...] = ()
    """Built-in guarantees that do not hold here, each with a written reason."""
    examples: ExamplesConfig = ExamplesConfig()
    """Example requests to fit, measure and try with."""


@functools.cache
def guard_names() -> tuple[str, ...]:
    """Every guard that is installed, without loading any."""
    built_in = [info.alias or name for name, info in GuardConfig.model_fields.items()]
    return (*built_in, *(point.name for point in entry_points(group="sluicegate.guards")))
