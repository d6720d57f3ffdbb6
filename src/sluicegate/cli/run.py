"""`sluicegate run`: send a text, a file or a JSON Lines file of requests through a workflow."""

import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from pydantic import BaseModel, ConfigDict, ValidationError

from sluicegate.cli._support.attachments import Attach, attachments_in
from sluicegate.cli._support.batch import OverBudget, before_it_starts, left_of_the_day, texts_of
from sluicegate.cli._support.console import AsJson, console, emit, notes, progress
from sluicegate.cli._support.options import Clearance, Groups, Roles, User
from sluicegate.cli._support.outcome import StreamedAnswer, print_outcome, print_summary, summary
from sluicegate.cli._support.outcome import as_json as outcome_json
from sluicegate.errors import ConfigError, Place, Problem, RunError, SluicegateError
from sluicegate.files import MAX_ROWS_BYTES, json_lines, read_bounded

if TYPE_CHECKING:
    from sluicegate.graphs.runtime.factory import Opened
    from sluicegate.state import Attachment, Principal

__all__ = ["app", "requester", "requests_in", "run_all"]

CLEARANCES = ("public", "internal", "confidential", "restricted")


class _Asker(BaseModel):
    """The requester, in a row of a file of requests; the command line gives what is left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = ""
    roles: list[str] = []
    groups: list[str] = []
    clearance: Literal["public", "internal", "confidential", "restricted"] = "internal"


class _Row(BaseModel):
    """A row of a file of requests. Other keys, as in labelled files, are ignored."""

    text: str
    principal: _Asker = _Asker()


app = typer.Typer(help="Send requests through a workflow.")


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")],
    request: Annotated[
        str,
        typer.Argument(
            help="A text, a file or a .jsonl file of requests; `-` reads standard input. Omit it to resume a run."
        ),
    ] = "",
    user: User = "me",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearance = "internal",
    priority: Annotated[
        str, typer.Option(help="Priority: low, normal or high; by default what the requester's roles have.")
    ] = "",
    attach: Attach = None,
    channel: Annotated[str, typer.Option(help="Channel the request comes from.")] = "cli",
    session: Annotated[str, typer.Option(help="Conversation that the run belongs to.")] = "",
    resume: Annotated[
        str, typer.Option("--run", help="Run id, to name a new run or to resume an interrupted one.")
    ] = "",
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Print the answer as it is written, where it may be sent before the whole is checked."
        ),
    ] = False,
    over_budget: OverBudget = False,
    as_json: AsJson = False,
) -> None:
    """Send one request, or every request of a file, through a workflow."""
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.steps.streaming import sending

    asker = requester(user, role, group, clearance)
    found = requests_in(request, asker)
    if resume and len(found) > 1:
        raise typer.BadParameter("names one run, but the file holds many requests", param_hint="--run")
    if stream and (as_json or len(found) > 1):
        raise typer.BadParameter("is for one request, without --json", param_hint="--stream")
    if attach and len(found) > 1:
        raise typer.BadParameter("is for one request", param_hint="--attach")
    tables = attachments_in(attach)
    opened = open_workflow(config)
    many = len(found) > 1
    if many:
        left = left_of_the_day(opened.workflow)
        before_it_starts(opened, texts_of(found), left=left, of="the day's budget", over=over_budget)
    early = StreamedAnswer() if stream else None
    with sending(early):
        outcomes = asyncio.run(
            run_all(
                opened, found, channel=channel, session=session, run=resume, attachments=tables, priority=priority,
                show=not as_json, bar=many and as_json, early=early,
            )
        )  # fmt: skip
    if as_json:
        emit({"outcomes": outcomes, "summary": summary(outcomes)} if many else outcomes[0])
    elif many:
        print_summary(outcomes)
    if any("error" in said for said in outcomes):
        raise typer.Exit(1)


def requester(user: str, role: list[str] | None, group: list[str] | None, clearance: str) -> "Principal":
    """Who asks, by the options of a command. Raises `BadParameter` for an unknown clearance."""
    from sluicegate.graphs.runtime.intake import principal

    if clearance not in CLEARANCES:
        raise typer.BadParameter(f"must be one of {', '.join(CLEARANCES)}", param_hint="--clearance")
    return principal(user, role or ["employee"], group or [], clearance)  # pyright: ignore[reportArgumentType]


async def run_all(
    opened: "Opened",
    requests: "list[tuple[str | bytes, Principal]]",
    *,
    channel: str = "cli",
    session: str = "",
    run: str = "",
    attachments: "Sequence[Attachment]" = (),
    priority: str = "",
    show: bool = True,
    bar: bool = False,
    early: StreamedAnswer | None = None,
) -> list[dict[str, Any]]:
    """Run the requests in order. Of several, one that fails is reported and the others continue."""
    from sluicegate.graphs.runtime.intake import new_run_id
    from sluicegate.graphs.runtime.intake import priority as level_of

    outcomes: list[dict[str, Any]] = []
    screen = console()
    with progress() as line:
        task = line.add_task("requests", total=len(requests), visible=bar)
        for raw, asker in requests:
            known = run or new_run_id()
            try:
                outcome = await opened.runner.run(
                    raw,
                    asker,
                    channel=channel,
                    session=session,
                    run=known,
                    attachments=attachments,
                    priority=level_of(opened.workflow.config.limits, asker, priority),
                )
            except asyncio.CancelledError:
                _say_how_to_go_on(opened, known)
                raise
            except SluicegateError as error:
                _say_how_to_go_on(opened, known)
                if len(requests) == 1:
                    raise
                notes().print(f"{error}", style="red", markup=False)
                outcomes.append({**_FAILED, "error": {"code": error.code, "message": error.message}})
                continue
            runner = opened.runner
            # what is resumed may be another's
            outcome = await runner.call(runner.read_by, outcome, asker)
            said = outcome_json(
                outcome,
                all_llm_usd=runner.all_llm_usd(outcome.state),
                answer_text=await runner.shown(outcome, asker),
            )
            outcomes.append(said)
            if show:
                print_outcome(said, screen=screen, early=early)
            line.advance(task)
    opened.tracer.hand_over()
    return outcomes


def _say_how_to_go_on(opened: "Opened", run: str) -> None:
    """Print the command that resumes an interrupted run."""
    if opened.runner.unfinished(run):
        command = shlex.join(["sluicegate", "run", str(opened.workflow.path), "--run", run])
        notes().print(f"run {run} was interrupted; resume it with: {command}", markup=False, soft_wrap=True)


_FAILED: dict[str, Any] = {"path": "failed", "llm_calls": 0, "usd": 0.0, "all_llm_usd": None, "model": ""}


def requests_in(given: str, asker: "Principal") -> "list[tuple[str | bytes, Principal]]":
    """The requests that an argument stands for, each with its requester.

    Raises `RunError` SG601 (nothing there), `ConfigError` SG140 (a row of a JSON Lines file is not a request).
    """
    import sys

    if given == "-":
        return [(sys.stdin.buffer.read(), asker)]
    path = Path(given)
    # a long or odd text is not a path, and asking the file system about it may fail
    if not given or len(given) > 500 or "\n" in given or "\0" in given:
        return [(given, asker)]
    if path.is_dir():
        raise RunError("SG601", f"{given} is a folder", hint="Give a text, a file or a .jsonl file of requests")
    if not path.is_file():
        return [(given, asker)]
    try:
        data = read_bounded(path, MAX_ROWS_BYTES)
    except OSError as error:
        raise RunError("SG601", f"cannot read {path}: {error.strerror}", hint="Check its permissions") from error
    if path.suffix != ".jsonl":
        return [(data, asker)]
    found: list[tuple[str | bytes, Principal]] = []
    problems: list[Problem] = []
    # a character that is not UTF-8 is one row's fault, not the file's
    for number, line in json_lines(data.decode("utf-8-sig", "surrogateescape")):
        try:
            row = _Row.model_validate_json(line.encode("utf-8", "surrogateescape"))
        except ValidationError as error:
            first = error.errors()[0]
            what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
            hint = 'A row is {"text": "…"}, with an optional "principal" {"id", "roles", "groups", "clearance"}'
            problems.append(Problem("SG140", f"not a request: {what}", Place(str(path), number, 1), hint=hint))
        else:
            found.append((row.text, cast("Principal", {**asker, **row.principal.model_dump(exclude_unset=True)})))
    if problems:
        raise ConfigError(problems)
    if not found:
        raise RunError("SG601", f"{path} holds no requests")
    return found
