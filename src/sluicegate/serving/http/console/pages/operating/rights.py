"""What these pages share: which workflows the viewer may look into, and a reason for what is changed."""

from starlette.requests import Request

from sluicegate.errors import RunError, UnknownWorkflowError
from sluicegate.services import OperatorTask
from sluicegate.serving.http.callers import Caller
from sluicegate.serving.http.calls import Fault, workflows_of
from sluicegate.serving.http.console.guarding import form_of, viewer_of
from sluicegate.serving.http.problems import of_status
from sluicegate.serving.operating.rights import concerned_by, may_operate, must_operate
from sluicegate.serving.service import Service

__all__ = [
    "LONGEST",
    "check_operating",
    "may",
    "number_of",
    "operates",
    "reason_of",
    "seen",
    "seen_one",
    "sees",
    "shown",
]

LONGEST = 2000
"""Characters of a reason."""


def shown(request: Request, viewer: Caller) -> bool:
    """Whether the entries of these pages are for this viewer."""
    return any(service.sees_all(viewer.principal) for service in workflows_of(request))


def seen(request: Request) -> list[Service]:
    """The workflows of which the viewer may see every run, as those do who operate or audit them. Raises `RunError`
    SG610 when there is none."""
    person = viewer_of(request).principal
    found = [service for service in workflows_of(request) if service.sees_all(person)]
    if not found:
        raise RunError(
            "SG610",
            f"policy does not let {person['id']} see how workflows are operated",
            hint="Sign in with the role operator or auditor",
        )
    return found


def seen_one(request: Request) -> Service:
    """The one that the address names. Raises `UnknownWorkflowError` SG642, also for one that they may not see."""
    name: str = request.path_params["name"]
    for service in seen(request):
        if service.name == name:
            return service
    raise UnknownWorkflowError(f"no workflow {name!r} that you may see", hint="Choose one of the list")


def sees(request: Request, system: str) -> bool:
    """Whether the viewer may see what concerns this system."""
    return all(
        service.sees_all(viewer_of(request).principal) for service in concerned_by(system, workflows_of(request))
    )


def may(request: Request, task: OperatorTask, system: str) -> bool:
    """Whether the viewer may do this."""
    return may_operate(viewer_of(request).principal, task, concerned_by(system, workflows_of(request)))


def check_operating(request: Request, task: OperatorTask, system: str) -> None:
    """Raises `RunError` SG610."""
    must_operate(viewer_of(request).principal, task, concerned_by(system, workflows_of(request)))


def operates(request: Request) -> str:
    """Who is named in the audit log."""
    return viewer_of(request).principal["id"]


def reason_of(request: Request, field: str = "reason") -> tuple[str, str]:
    """The reason in a form, and what is wrong with it; empty when nothing is."""
    text = str(form_of(request).get(field, "")).strip()
    if not text:
        return text, "Say why: it goes into the record"
    return (text, "") if len(text) <= LONGEST else (text, f"At most {LONGEST:,} characters")


def number_of(text: object) -> int:
    """A number in an address or a form. Raises `Fault` 404."""
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 9:
        return int(text)
    raise Fault(of_status(404, "there is no such page"))
