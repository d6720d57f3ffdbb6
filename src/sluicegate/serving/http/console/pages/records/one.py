"""One run: its way on the graph, what it decided and why, everything that happened in it, and feedback on it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.session.reading_rights import RecordedRun
from sluicegate.graphs.session.run_picture import picture_of_run
from sluicegate.observe.exporters.langfuse import trace_address
from sluicegate.observe.views.tree import span_tree
from sluicegate.serving.http.calls import run_of, workflows_of
from sluicegate.serving.http.console.guarding import form_of, see_other, viewer_of
from sluicegate.serving.http.console.page import ROOT, PageRoute
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.records.runs import RunRecords
from sluicegate.state import Principal

__all__ = ["ROUTES", "records_of"]

_PATH = f"{ROOT}/runs/{{id}}"
_COMMENT = 2_000
"""Characters of a comment, as over the API."""


def records_of(request: Request) -> RunRecords:
    return request.app.state.records


async def run(request: Request) -> Response:
    return await _page(request)


async def feedback(request: Request) -> Response:
    """Scores of a form. It says how many the viewer had given before, so that a second press gives none."""
    form, run, person = form_of(request), run_of(request), viewer_of(request).principal
    shown, workflow = await asyncio.to_thread(_read, records_of(request), run, person)
    given = _given(records_of(request), shown.scores, person)
    if form.get("given") != str(given):
        return await _page(request, wrong="Your feedback is here already; nothing was added", status=409)
    comment, scores = form.get("comment", "").strip(), list[tuple[str, bool | str]]()
    if len(comment) > _COMMENT:
        return await _page(request, wrong=f"The comment has more than {_COMMENT:,} characters", status=422)
    if form.get("right") in ("yes", "no"):
        scores.append(("thumb", form["right"] == "yes"))
    if form.get("intent"):
        if workflow is None or form["intent"] not in workflow.config.intents:
            return await _page(request, wrong="This is none of the workflow's intents", status=422)
        scores.append(("correct_intent", form["intent"]))
    if not scores:
        return await _page(request, wrong="Say whether the answer was right, or which intent is", status=422)
    service = workflows_of(request).of(shown.row["workflow"])
    for number, (name, value) in enumerate(scores):
        # the words are kept once
        await service.feedback(run, person, name, value, "" if number else comment)
    return see_other(f"{request.url.path.removesuffix('/feedback')}#feedback")


async def _page(request: Request, *, wrong: str = "", status: int = 200) -> Response:
    records, person, run = records_of(request), viewer_of(request).principal, run_of(request)
    shown, workflow = await asyncio.to_thread(_read, records, run, person)
    picture = await asyncio.to_thread(picture_of_run, workflow, shown, styled=False) if workflow else ""
    return render(
        request,
        "records/run.html",
        status=status,
        run=shown.row,
        # its texts are escaped by `svg`
        picture=Markup(picture),  # noqa: S704
        decisions=shown.decisions,
        tree=span_tree(shown.spans),
        whole=_whole(shown.spans),
        children=_children(shown.spans),
        calls=[span for span in shown.spans if "asked" in span["attributes"] and "role" in span["attributes"]],
        findings=_findings(shown.spans),
        citations=_citations(shown.spans),
        scores=shown.scores,
        given=_given(records, shown.scores, person),
        intents=[*workflow.config.intents] if workflow else [],
        langfuse=trace_address(shown.row["trace_id"]),
        typed=dict(form_of(request)) if request.method == "POST" else {},
        wrong=wrong,
    )


def _read(records: RunRecords, run: str, person: Principal) -> tuple[RecordedRun, Workflow | None]:
    shown = records.one(run, person)
    return shown, records.version(shown.row["digest"])


def _given(records: RunRecords, scores: Sequence[Mapping[str, Any]], person: Principal) -> int:
    """How many scores they have given."""
    names = records.names(person["id"])
    return sum(score["source"] == "feedback" and score["by"] in names for score in scores)


def _whole(spans: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """The first start, and nanoseconds from there to the last end."""
    first = min((span["start_ns"] for span in spans), default=0)
    return first, max(1, max((span["end_ns"] for span in spans), default=0) - first)


def _children(spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The runs of workflows within this one, each with its last segment's end."""
    found: dict[str, dict[str, Any]] = {}
    for span in spans:
        said = span["attributes"]
        if span["type"] == "agent" and span["parent"] and "workflow" in said and "version" in said:
            one = found.setdefault(said["run"], {"run": said["run"], "workflow": said["workflow"], "ms": 0.0})
            one |= {"version": said["version"], "status": said.get("status", ""), "path": said.get("path", "")}
            one["ms"] += (span["end_ns"] - span["start_ns"]) / 1e6
    own = {span["attributes"].get("run") for span in spans if span["type"] == "agent" and not span["parent"]}
    return [one for run, one in found.items() if run not in own]


def _findings(spans: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each guard's verdict on each text."""
    return [
        {
            "stage": said["stage"],
            "guard": guard,
            "passed": passed,
            "action": said.get("actions", {}).get(guard, ""),
            "reason": said.get("failures", {}).get(guard, ""),
            "ms": said.get("ms", {}).get(guard),
        }
        for said in (span["attributes"] for span in spans)
        if "verdicts" in said and "stage" in said
        for guard, passed in said["verdicts"].items()
    ]


def _citations(spans: Sequence[Mapping[str, Any]]) -> list[str]:
    """Documents that the last draft cites."""
    cited = [span["attributes"]["citations"] for span in spans if span["attributes"].get("citations")]
    return list(dict.fromkeys(cited[-1])) if cited else []


ROUTES = (PageRoute(_PATH, run), PageRoute(f"{_PATH}/feedback", feedback, "POST"), PageRoute(f"{_PATH}/feedback", run))
