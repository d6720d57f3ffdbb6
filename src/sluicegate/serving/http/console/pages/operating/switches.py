"""Kill switches: what is off, since when, by whom and why."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from sluicegate.errors import NotFoundError
from sluicegate.models.config import resolve
from sluicegate.policies.kill_switch import KillSwitch
from sluicegate.serving.http.console.guarding import form_of, see_other
from sluicegate.serving.http.console.page import ROOT, Page, PageRoute
from sluicegate.serving.http.console.pages.operating import rights
from sluicegate.serving.http.console.rendering import render
from sluicegate.serving.operating import switches as operating

__all__ = ["PAGE"]

_LIST = f"{ROOT}/switches"


async def switches(request: Request) -> Response:
    rights.seen(request)
    entries = [each for each in KillSwitch().entries() if rights.sees(request, _system(each.name))]
    off = {each.name for each in entries}
    offered = {
        kind: [name for name in names if name not in off and rights.may(request, "switch-off", _system(name))]
        for kind, names in _names(request).items()
    }
    return render(
        request,
        "operating/switches.html",
        switched=[(each, rights.may(request, "switch-on", _system(each.name))) for each in entries],
        offered={kind: names for kind, names in offered.items() if names},
    )


async def off_page(request: Request) -> Response:
    name = _named(request, request.query_params.get("name", ""))
    return _off(request, name)


async def off(request: Request) -> Response:
    name = _named(request, str(form_of(request).get("name", "")))
    reason, wrong = rights.reason_of(request)
    if wrong:
        return _off(request, name, reason, wrong)
    by = rights.operates(request)
    await asyncio.to_thread(lambda: operating.switch_off(name, reason=reason, by=by, once=True))
    return see_other(_LIST)


def _named(request: Request, name: str) -> str:
    """What may be switched off here. Raises `RunError` SG603, SG610."""
    rights.seen(request)
    if not any(name in names for names in _names(request).values()) or not rights.sees(request, _system(name)):
        raise NotFoundError(f"nothing here is called {name!r}", hint="Choose one of the list")
    rights.check_operating(request, "switch-off", _system(name))
    return name


def _off(request: Request, name: str, reason: str = "", wrong: str = "") -> Response:
    known = KillSwitch().entries()
    return render(
        request,
        "operating/switch_off.html",
        name=name,
        kind=name.partition(":")[0],
        what=name.partition(":")[2],
        already=any(each.name == name for each in known),
        reason=reason,
        wrong=wrong,
        status=422 if wrong else 200,
    )


async def on_page(request: Request) -> Response:
    return _on(request, request.query_params.get("name", ""))


async def on(request: Request) -> Response:
    form = form_of(request)
    name = str(form.get("name", ""))
    reason, wrong = rights.reason_of(request)
    if wrong:
        return _on(request, name, reason, wrong)
    rights.seen(request)
    rights.check_operating(request, "switch-on", _system(name))
    by, since = rights.operates(request), str(form.get("since", ""))
    await asyncio.to_thread(lambda: operating.switch_on(name, reason=reason, by=by, since=since))
    return see_other(_LIST)


def _on(request: Request, name: str, reason: str = "", wrong: str = "") -> Response:
    rights.seen(request)
    found = next((each for each in KillSwitch().entries() if each.name == name), None)
    if found is None or not rights.sees(request, _system(name)):
        raise NotFoundError(f"{name!r} is not off", hint="Choose one of the list")
    rights.check_operating(request, "switch-on", _system(name))
    return render(
        request, "operating/switch_on.html", entry=found, reason=reason, wrong=wrong, status=422 if wrong else 200
    )


def _system(name: str) -> str:
    """The workflow that a switch is about; what a model or an intent is called concerns every workflow."""
    kind, _, rest = name.partition(":")
    return rest if kind == "workflow" and rest != "*" else ""


def _names(request: Request) -> dict[str, list[str]]:
    """What can be switched off, by kind, of the workflows that the viewer sees."""
    served = [service.versions.serving.workflow for service in rights.seen(request)]
    intents = {label for workflow in served for label in workflow.config.intents}
    models = {
        model.use
        for workflow in served
        for role in workflow.config.models
        for _, model in resolve(workflow.config.models, role)
    }
    return {
        "workflow": sorted(f"workflow:{workflow.name}" for workflow in served),
        "intent": sorted(f"intent:{label}" for label in intents),
        "model": ["model:*", *sorted(f"model:{model}" for model in models)],
    }


PAGE = Page(
    "Switches",
    [
        PageRoute(_LIST, switches),
        PageRoute(f"{_LIST}/off", off_page),
        PageRoute(f"{_LIST}/off", off, "POST"),
        PageRoute(f"{_LIST}/on", on_page),
        PageRoute(f"{_LIST}/on", on, "POST"),
    ],
    rights.shown,
)
