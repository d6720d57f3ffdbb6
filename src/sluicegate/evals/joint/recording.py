"""Every way that a labelled request can take through a workflow, whatever its thresholds are.

What a node makes of a request does not depend on the thresholds: they only decide which branch is taken. So a request
is run once with each combination of thresholds that no score reaches and that every score reaches, unless a run before
has shown the way that it would take. Each run keeps the decisions in which a threshold had a say, with the value of
every field that they read, and its end: what was sent, and whether it was right. `walking` follows other thresholds
through these decisions. A model is asked the same only once.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from sluicegate.errors import InsufficientDataError, RetrievalError, SluicegateError
from sluicegate.evals.evaluation.baselines import isolated
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.evaluation.scoring import measure
from sluicegate.graphs.conditions.fields import UNSET, fields
from sluicegate.graphs.config.inputs.joint import fitted_to
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.run import Runner
from sluicegate.learning.threshold import NEVER
from sluicegate.policies.cache.cache import NoCache
from sluicegate.retrieval.catalog import Catalog
from sluicegate.retrieval.stores.sharing import readable_folder
from sluicegate.routing.joint.thresholds import SCORES, ConfidenceWithThresholds, RouterWithThresholds, Vector
from sluicegate.services import Completion, ModelRequest, Models, ModelStep, Services

__all__ = ["Recorded", "ThresholdDecision", "Way", "named", "read_recorded", "record", "takes", "under"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ThresholdDecision:
    """One decision of a run in which a threshold had a say."""

    node: str
    to: str
    condition: str
    """As the trail has it: the condition that held, or ``otherwise``."""
    values: Mapping[str, Any]
    """Of every field that was read; those of a threshold are the run's."""


@dataclass(frozen=True, slots=True)
class Way:
    """One run: its thresholds, its decisions, and its end."""

    at: Vector
    decisions: Sequence[ThresholdDecision]
    sent: bool
    """It ended without a person: with an answer, or refused."""
    answered: bool
    large: bool
    """It called the large model."""
    right: bool
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """At its end, by the field."""
    model: str = ""
    """That answered."""

    @property
    def wrong(self) -> bool:
        """It was sent, and is not right."""
        return self.sent and not self.right

    @property
    def kept(self) -> bool:
        """It was answered without a person and without the large model."""
        return self.sent and self.answered and not self.large


@dataclass(frozen=True, slots=True)
class Recorded:
    """A labelled request with all its ways."""

    case: str
    text: str
    ways: Sequence[Way]
    stagewise: Way
    """Under each stage's own thresholds."""

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


def read_recorded(path: Path) -> list[Recorded]:
    """From a file of `Recorded.line`; a last line that was cut off is left out."""
    found: list[Recorded] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        ways = [_read(way) for way in row["ways"]]
        found.append(Recorded(row["case"], row["text"], ways, _read(row["stagewise"])))
    return found


def _read(way: Mapping[str, Any]) -> Way:
    content: dict[str, Any] = {**way, "decisions": [ThresholdDecision(**each) for each in way["decisions"]]}
    return Way(**content)


def named(workflow: Workflow) -> list[str]:
    """The thresholds that the workflow's conditions read."""
    read = {field for condition in workflow.conditions.values() for field in condition.fields}
    return [name for name in SCORES if name in read]


def _in_the_trail(workflow: Workflow) -> None:
    """Raise SG313 unless every decision in which a threshold has a say is in the trail of the run."""
    thresholds = {*named(workflow)}
    for node in workflow.flow.nodes.values():
        conditions = [workflow.conditions[edge.condition] for edge in node.edges if edge.condition]
        if node.within and any(thresholds & {*condition.fields} for condition in conditions):
            what = f"for each item of {node.within!r}, {node.name!r} decides by a threshold"
            raise _unseen(what, f"Decide before {node.within!r} or after it")
    for name, child in workflow.children.items():
        if read := named(child):
            raise _unseen(f"within {name!r}, {child.name!r} decides by {read[0]}", "Fit thresholds for it alone")


def _unseen(what: str, hint: str) -> InsufficientDataError:
    return InsufficientDataError(
        f"thresholds cannot be chosen together: {what}, which the decisions of a run do not show", hint=hint
    )


def under(workflow: Workflow) -> str:
    """A hash of what a recording depends on besides the request: the workflow, without its joint thresholds, and what
    its indexes hold."""
    parts = fitted_to(workflow.config, workflow.settings, workflow.resolved)
    for index, config in workflow.config.indexes.items():
        try:
            with closing(Catalog(readable_folder(workflow.name, index, config), name=index)) as catalog:
                head = catalog.head()
            parts[f"index {index}"] = head.digest if head else ""
        except RetrievalError as error:
            parts[f"index {index}"] = error.code
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Once(ModelStep):
    """Models that are asked for what is not among `known`."""

    def __init__(self, models: Models, known: dict[str, Completion]) -> None:
        super().__init__(models)
        self._known = known

    async def chat(self, request: ModelRequest) -> Completion:
        key = repr(request)
        if key not in self._known:
            self._known[key] = await self._models.chat(request)
        return self._known[key]


async def record(
    workflow: Workflow,
    cases: Iterable[Case],
    folder: Path,
    *,
    on_row: Callable[[Recorded], None],
    change: Callable[[Services], Services] = lambda services: services,
    values: Sequence[float] = (0.0, NEVER),
) -> None:
    """Run every case its ways, isolated in `folder` as an evaluation is; one at a time, as an embedded model answers
    anyway. Cases that expect no result are left out.

    `change` may swap services, for tests; `values` are those that each threshold is run with. Raises as `open_workflow`
    does, and `ModelError` SG313 where a threshold decides something that a run's trail does not have; a run that fails
    sends nothing.
    """
    _in_the_trail(workflow)
    names, now, asked = named(workflow), dict[str, float](), dict[str, Completion]()

    def watched(services: Services) -> Services:
        services = change(services)
        return replace(
            services,
            models=_Once(services.models, asked),
            router=RouterWithThresholds(services.router, lambda _: now),
            confidence=ConfidenceWithThresholds(services.confidence, lambda _: now),
            cache=NoCache(),
        )

    # thresholds that were chosen before would stand in the way
    router = workflow.config.router.model_copy(update={"joint": None})
    workflow = replace(workflow, config=workflow.config.model_copy(update={"router": router}))
    runner = isolated(workflow, folder, watched).runner
    for case in cases:
        if not case.expects_result:
            continue
        asked.clear()
        now.clear()
        stagewise, ways = await _way(runner, case, {}), list[Way]()
        for each in product(values, repeat=len(names)):
            now.update(zip(names, each, strict=True))
            if not any(takes(workflow, way, now) for way in ways):
                ways.append(await _way(runner, case, dict(now)))
        on_row(Recorded(case.id, case.text, ways, stagewise))


async def _way(runner: Runner, case: Case, at: Vector) -> Way:
    try:
        outcome = await runner.run(case.text, case.principal, channel="eval")
    except SluicegateError as error:
        log.warning("a run failed, and sends nothing: %s", error)
        return Way(at, [], sent=False, answered=False, large=False, right=False)
    metrics, state = measure(outcome, case), outcome.state
    scores = {score.field: fields()[score.field].read(state) for score in SCORES.values()}
    return Way(
        at,
        [
            ThresholdDecision(entry["node"], branch["to"], branch["condition"], branch["values"])
            for entry in state.get("trail", [])
            if at.keys() & (branch := entry["branch"])["values"].keys()
        ],
        sent=bool(metrics["without_human"]),
        answered=outcome.status == "answered",
        large=not metrics["without_llm"],
        right=bool(metrics["correct"]),
        scores={name: float(value) for name, value in scores.items() if value is not UNSET},
        model=outcome.summary.model or "",
    )


def takes(workflow: Workflow, way: Way, thresholds: Vector) -> bool:
    """Whether the request goes this way under other thresholds: every decision of the run comes out the same."""
    return all(_same(workflow, way.at, decision, thresholds) for decision in way.decisions)


def _same(workflow: Workflow, at: Vector, decision: ThresholdDecision, thresholds: Vector) -> bool:
    node, values = workflow.flow.nodes[decision.node], dict(decision.values)
    # one that was not the run's, as that of a request unlike the calibration rows, is not chosen
    values |= {name: thresholds[name] for name, value in at.items() if values.get(name) == value}
    known = {name: value for name, value in values.items() if value is not None}
    for position, edge in enumerate(node.edges):
        taken = (edge.to, node.said(position)) == (decision.to, decision.condition)
        holds = edge.condition is None or workflow.conditions[edge.condition].known(known) is True
        if taken:
            return holds
        if holds and f"visits.{edge.to}" not in values:
            return False
    return False
