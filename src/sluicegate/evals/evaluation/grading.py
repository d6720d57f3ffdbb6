"""Grading the small model's answers, so that confidence in them can be fitted (`routing.answers.answer`).

Each labelled request goes through the workflow's own nodes, by its own branches, until the first `slm-answer` node has
written; the features of that node's confidence are recorded, and the answer is graded against what the row expects.
A request that the workflow sends elsewhere (refused, to a tool, to the large model) has no such answer and is left out,
so that the graded answers are distributed like those of real requests.

Of a quotation the part is graded that stands whatever the model picks (`services.AnswerFeatures.floor`), and no model
is asked: what else a model picks adds facts and takes none away, so that every model is right at least where that part
is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sluicegate.errors import ConfigError, Problem
from sluicegate.evals.evaluation.baselines import Metered, changed, isolated
from sluicegate.evals.evaluation.cases import Case
from sluicegate.evals.evaluation.scoring import contains, facts_found
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.build import decide
from sluicegate.graphs.runtime.run import Runner
from sluicegate.nodes.kinds.answering import SlmAnswer
from sluicegate.nodes.model_governance import governed
from sluicegate.nodes.registry import kinds
from sluicegate.routing.answers.answer import ANY, UNFITTED, Style, features_of
from sluicegate.services import AnswerConfidence, AnswerFeatures, Completion, ModelRequest, ModelStep, Services
from sluicegate.state import State

__all__ = ["GradedAnswer", "answering", "drafted", "grade", "right"]

_KIND = "slm-answer"
_ELSEWHERE = frozenset({"generates", "ends", "calls-tool", "asks-human"})


@dataclass(frozen=True, slots=True)
class GradedAnswer:
    """One line of a file of graded answers."""

    text: str
    """The request."""
    answer: str
    right: bool
    known: bool | None
    """Whether a document has the answer; None where the row does not say."""
    model: str
    """`ANY` for what any model would have quoted."""
    features: dict[str, float]

    def plain(self) -> dict[str, Any]:
        return {
            "question": self.text, "answer": self.answer, "right": self.right, "known": self.known,
            "model": self.model, "features": self.features,
        }  # fmt: skip


class _Recording:
    """Implements `services.Confidence`; remembers the evidence."""

    like = ""

    def __init__(self) -> None:
        self.seen: AnswerFeatures | None = None

    def __call__(self, evidence: AnswerFeatures) -> AnswerConfidence:
        self.seen = evidence
        return UNFITTED(evidence)


class _Unasked(ModelStep):
    """`services.Models` that picks the first of numbered sentences itself."""

    async def chat(self, request: ModelRequest) -> Completion:
        if not request.schema or request.schema["properties"].keys() != {"sentences"}:
            return await self._models.chat(request)
        name = self._models.describe(request.role)
        return Completion("", name, name, 0, 0, "stop", 0.0, 0.0, parsed={"sentences": [1]})


async def grade(
    workflow: Workflow,
    cases: Sequence[Case],
    folder: Path,
    *,
    both: bool = False,
    large: bool = False,
    on_case: Callable[[], None] = lambda: None,
) -> list[GradedAnswer]:
    """The graded answers to `cases`, isolated in `folder`; one at a time, as an embedded model answers anyway.

    `both` takes in the requests that a fitted escalation would send to the large model, and grades whole answers, for
    which the models are asked; `large` has the large model write in place of the small one. Raises as `open_workflow`
    and the nodes do.
    """
    # the artifact being fitted need not exist yet
    absent = {"answers": None, "escalation": None} if both else {"answers": None}
    router = workflow.config.router.model_copy(update=absent)
    workflow = replace(workflow, config=workflow.config.model_copy(update={"router": router}))
    recording = _Recording()

    def recorded(services: Services) -> Services:
        same = changed(services)
        models = Metered(services.models, {"slm": "llm"}) if large else same.models if both else _Unasked(same.models)
        return replace(same, models=models, confidence=recording)

    runner = isolated(workflow, folder, recorded).runner
    found: list[GradedAnswer] = []
    for case in cases:
        recording.seen = None
        state = await drafted(workflow, runner, case)
        answer, seen = state.get("answer") if state else None, recording.seen
        if state and answer and seen:
            text, model = (seen.floor, ANY) if seen.floor and not both else (answer["text"], answer["model"])
            verdict = right(workflow, case, {**state, "answer": {**answer, "text": text}})
            if verdict is not None:
                found.append(GradedAnswer(case.text, text, verdict, _known(case), model, features_of(seen)))
        on_case()
    return found


def answering(workflow: Workflow, model: str | None, style: Style | None) -> Workflow:
    """The workflow with another small model to answer, and with its answers in another style; None leaves either.

    Raises `ConfigError` SG114 where it has no prompt for that style.
    """
    nodes = {name: own for name, own in workflow.settings.items() if type(own) is SlmAnswer and own.model == "slm"}
    config = workflow.config
    if model is not None:
        role = config.models["slm"].model_copy(update={"use": model, "otherwise": (), "minimum": {}})
        config = config.model_copy(update={"models": {**config.models, "slm": role}})
    if style is not None:
        nodes = {name: own.model_copy(update={"style": style}) for name, own in nodes.items()}
        for own in nodes.values():
            prompt = own.prompt + ("-quote" if style == "quote" else "")
            if prompt not in workflow.resolved.prompts:
                hint = f"Add the file {prompt}.md to the prompts folder"
                raise ConfigError([Problem("SG114", f"style {style!r} needs the prompt {prompt!r}", hint=hint)])
    return replace(workflow, config=config, settings={**workflow.settings, **nodes})


def right(workflow: Workflow, case: Case, state: State) -> bool | None:
    """Whether the draft is what the row expects; None when the row does not say."""
    answer, intent = state.get("answer"), state.get("intent")
    text = answer["text"] if answer else ""
    if case.known is False:
        return False
    if case.facts or case.answer is not None:
        return (not case.facts or facts_found(text, case) == 1.0) and (
            case.answer is None or contains(text, case.answer)
        )
    intents = workflow.config.intents
    if case.intent in intents and intent and intents[case.intent].task != intents[intent["label"]].task:
        return False  # a request for something else that was taken for a question
    return None


def _known(case: Case) -> bool | None:
    return True if case.facts or case.answer is not None else case.known


async def drafted(workflow: Workflow, runner: Runner, case: Case) -> State | None:
    """The state after the first answering node, or None when the request does not reach one."""
    flow, services, known = workflow.flow, runner.services, kinds()
    state, name = runner.opening(case.text, case.principal, channel="eval"), flow.start
    while name:
        node = flow.nodes[name]
        if node.kind != _KIND and node.effects & _ELSEWHERE:
            return None
        visits = state["run"]["visits"]
        entered: State = {**state, "run": {**state["run"], "visits": {**visits, name: visits.get(name, 0) + 1}}}
        update = await governed(known[node.kind].make(name, workflow.settings[name]), entered, services)
        state: State = {**entered, **update}  # pyright: ignore[reportAssignmentType]
        if node.kind == _KIND:
            return state if state.get("answer", {}).get("model") else None
        name = decide(flow, node, workflow.conditions, state)["to"]
    return None
