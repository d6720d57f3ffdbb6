"""`sluicegate approvals`: the runs that wait for a person, and the decisions on them."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sluicegate.cli._support.approval_links import link, links
from sluicegate.cli._support.console import AsJson, console, emit, notes
from sluicegate.cli._support.continuing import opened_for
from sluicegate.cli._support.outcome import as_json as outcome_json
from sluicegate.cli._support.outcome import print_outcome, proposed, until
from sluicegate.errors import NotFoundError, NotWaitingError, SluicegateError
from sluicegate.storage.run_ids import root_run

if TYPE_CHECKING:
    from sluicegate.graphs.runtime.factory import Opened
    from sluicegate.graphs.runtime.waiting.approvals import Waiting
    from sluicegate.state import Principal

__all__ = ["Kept", "Migrate", "app"]

app = typer.Typer(help="List, show and decide runs that wait for approval.", no_args_is_help=True)
app.command()(link)
app.command()(links)

Run = Annotated[str, typer.Argument(help="Run id, or a unique prefix.")]
User = Annotated[str, typer.Option("--as", help="User id of the approver.")]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Role of that user (repeatable).")]
Groups = Annotated[list[str] | None, typer.Option("--group", help="Group of that user (repeatable).")]
Reader = Annotated[
    str, typer.Option("--as", help="User id of the reader; by default nobody in particular, who reads what all may.")
]
Clearances = Annotated[
    Literal["public", "internal", "confidential", "restricted"], typer.Option("--clearance", help="Their clearance.")
]
Reason = Annotated[str, typer.Option(help="Reason, recorded with the decision.")]
Intent = Annotated[str, typer.Option("--intent", help="Correct intent of the request; `router refit` learns from it.")]
Kept = Annotated[
    bool, typer.Option("--kept", help="If the workflow has changed: finish on the version the run started with.")
]
Migrate = Annotated[
    bool, typer.Option("--migrate", help="If the workflow has changed: continue on the current version.")
]


@app.command("list")
def list_waiting(
    workflow: Annotated[str, typer.Option(help="Only this workflow.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many runs at most.")] = 50,
    after: Annotated[str, typer.Option(help="Continue the list behind this point, as the page before named it.")] = "",
    user: Reader = "", role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """List the runs that wait for approval, oldest first. Whatever waits and is past its deadline goes on: a request
    that nobody decided on is refused, a question times out, a timer ends."""
    from sluicegate.graphs.session.checkpoint_reader import left_at_home
    from sluicegate.storage.postgres import URL

    waiting, more = _waiting_page(workflow, after, limit, _person(user, role, group, clearance))
    if more:
        notes().print(f"more runs wait: add --after {more}")
    if forgotten := left_at_home():
        notes().print(f"{forgotten} more runs wait in this home, from before {URL} was set; unset it to decide on them")
    if as_json:
        emit(waiting)
        return
    if not waiting:
        console().print("no run is waiting for a decision")
        return
    from rich.table import Table

    table = Table("run", "workflow", "intent", "requester", "approvers", "deadline", "reason", box=None)
    for one in waiting:
        table.add_row(
            one["run"],
            " › ".join([one["workflow"], *(each["workflow"] for each in one.get("asked_by", ()))]),
            one["intent"],
            one["principal"],
            one["approvers"],
            until(one["deadline"]),
            one["withheld"] or one["reason"],
        )
    # an id must be whole to be used
    for column in table.columns:
        column.overflow = "fold"  # nor are the approvers cut short
    table.columns[0].no_wrap = table.columns[5].no_wrap = True
    table.columns[0].min_width = max(len(one["run"]) for one in waiting)
    console().print(table)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Run id, a unique prefix, or `last` (waiting).")],
    user: Reader = "", role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show the evidence: request, draft, sources, checks, and the reason for the approval.

    A named reader also sees what was redacted and policy lets them see.
    """
    from sluicegate.graphs.session.checkpoint_reader import full_id

    waiting = _waiting(_last() if run == "last" else root_run(full_id(run)), _person(user, role, group, clearance))
    if as_json:
        emit(waiting)
        return
    from rich.markup import escape

    screen = console()
    screen.print(f"[bold]{escape(waiting['request'])}[/bold]")
    screen.print(f"  requester {escape(waiting['principal'])}   intent {waiting['intent']}")
    if asked_by := [each["workflow"] for each in waiting.get("asked_by", ())]:
        screen.print(f"  asked by  {' › '.join([waiting['workflow'], *asked_by])}")
    screen.print(f"  reason    {escape(waiting['reason'])}")
    screen.print(f"  approvers {waiting['approvers']} until {until(waiting['deadline'])}")
    if waiting["withheld"]:
        screen.print(f"  withheld  {escape(waiting['withheld'])}")
    if waiting["proposal"]:
        screen.print(f"  action    {escape(proposed(waiting['proposal']))}")
    if waiting["draft"]:
        screen.print(f"  draft     {escape(waiting['draft'])}")
    elif waiting["edits"] == "text" and not waiting["proposal"] and not waiting["withheld"]:
        screen.print("  draft     none yet; write one with `sluicegate approvals edit`")
    for number, document in enumerate(waiting["documents"], start=1):
        screen.print(
            f"  source    [{number}] {escape(document['title'])} ({document['id']}@{document['version']})", markup=False
        )
    for check in waiting["checks"]:
        verdict = "passed" if check["passed"] else f"failed: {check['reason']}"
        screen.print(f"  check     {check['guard']} {escape(verdict)}")
    change = "TEXT" if waiting["edits"] == "text" else "--set ARGUMENT=VALUE"
    screen.print(
        f"\nsluicegate approvals approve|edit|reject {waiting['run']} --as NAME --role ROLE; edit takes {change}",
        style="dim",
        soft_wrap=True,
    )


@app.command()
def approve(
    run: Run, user: User, role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    reason: Reason = "", intent: Intent = "",
    kept: Kept = False, migrate: Migrate = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Send the draft, or allow the tool call."""
    _decide(run, "approve", _person(user, role, group, clearance), reason, "", intent, kept, migrate, as_json=as_json)


@app.command()
def edit(
    run: Run, user: User,
    text: Annotated[
        str | None, typer.Argument(help="The text to send instead of the draft; `-` reads standard input.")
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=VALUE: an argument of the waiting tool call to change; a value that is no text"
                     " is JSON, null takes the argument out (repeatable)."),
    ] = None,
    role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    reason: Reason = "", intent: Intent = "",
    kept: Kept = False, migrate: Migrate = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Send another text instead of the draft, or change the arguments of the tool call that waits."""
    words = (sys.stdin.read() if text == "-" else text or "").strip()
    if not words and not arguments:
        what = "is empty; use `reject` to send no answer, or --set where a tool call waits"
        raise typer.BadParameter(what, param_hint="TEXT")
    _decide(
        run,
        "edit",
        _person(user, role, group, clearance),
        reason,
        words,
        intent,
        kept,
        migrate,
        arguments,
        as_json=as_json,
    )


@app.command()
def reject(
    run: Run, user: User, role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    reason: Reason = "", intent: Intent = "",
    kept: Kept = False, migrate: Migrate = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Refuse the request; the requester is told the reason."""
    _decide(run, "reject", _person(user, role, group, clearance), reason, "", intent, kept, migrate, as_json=as_json)


@app.command()
def watch(
    every: Annotated[float, typer.Option(min=0.2, help="Polling interval in seconds.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Check once, then exit.")] = False,
    user: Reader = "", role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show new runs that wait for approval as they arrive; whatever waits and is past its deadline goes on."""
    reader = _person(user, role, group, clearance)
    seen: set[str] = set()
    while True:
        after = ""
        while True:
            waiting, after = _waiting_page("", after, 50, reader)
            for one in waiting:
                if one["run"] in seen:
                    continue
                seen.add(one["run"])
                if as_json:
                    emit(one)
                else:
                    due = until(one["deadline"])
                    why = one["withheld"] or one["reason"]
                    console().print(f"{one['run']}  {one['intent']}  {one['approvers']} until {due}  {why}")
            if not after:
                break
        if once:
            return
        time.sleep(every)


@app.command()
def export(
    config: Annotated[Path, typer.Argument(help="Workflow whose reviewed drafts to export.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output file of graded answers (JSON Lines).")],
    since: Annotated[str, typer.Option(help="Only runs that ended since then: 12h, 30d or an ISO time.")] = "",
    user: Reader = "", role: Roles = None, group: Groups = None, clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Export approval decisions as graded answers, for `router fit --task answer`."""
    from sluicegate.cli._support.options import since_ns
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.session.reading_rights import ReadingRights
    from sluicegate.observe.approval_labels import decided_drafts

    rights, reader = ReadingRights(), _person(user, role, group, clearance)
    rows, left = decided_drafts(
        _store(),
        load(config).config.workflow,
        since_ns=since_ns(since),
        withheld=lambda run, spans: rights.withheld(run, spans, reader),
    )
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    found = {"file": str(out), "answers": len(rows), "right": sum(row["right"] for row in rows), "left_out": dict(left)}
    if as_json:
        emit(found)
        return
    console().print(f"{out}: {found['answers']} graded answers, {found['right']} right", markup=False)
    for reason, count in left.items():
        console().print(f"  left out {count}: {reason}", style="dim")


def _decide(
    run: str, verdict: str, person: "Principal", reason: str, text: str,
    intent: str, kept: bool, migrate: bool, arguments: Sequence[str] | None = None, *, as_json: bool,
) -> None:  # fmt: skip
    from sluicegate.graphs.session.checkpoint_reader import full_id

    run = root_run(full_id(run))
    opened = opened_for(run, "kept" if kept else "migrate" if migrate else "refuse")
    labels = opened.workflow.config.intents
    if intent and intent not in labels:
        raise typer.BadParameter(f"must be one of {', '.join(labels)}", param_hint="--intent")
    changes = _changes(opened, run, arguments or ())
    decided = asyncio.run(opened.runner.decide(run, verdict, person, reason=reason, text=text, arguments=changes))
    # what was found after the decision may be none of theirs
    decided = opened.runner.read_by(decided, person)
    if intent:
        opened.tracer.feedback(run, "correct_intent", intent, comment=reason, by=person["id"])
    opened.tracer.hand_over()
    said = outcome_json(
        decided,
        all_llm_usd=opened.runner.all_llm_usd(decided.state),
        answer_text=asyncio.run(opened.runner.shown(decided, person)),
    )
    if as_json:
        emit(said)
        return
    if decided.edited:
        _print_edited(**decided.edited)
    print_outcome(said)


def _print_edited(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            console().print(f"{name}: {before.get(name)!r} → {after.get(name)!r}", markup=False, soft_wrap=True)


def _changes(opened: "Opened", run: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """Each NAME=VALUE; a value is JSON where the tool's argument takes that and not the text, and where it is null."""
    from sluicegate.models.structured import misfit

    waiting = opened.runner.waiting(run) if arguments else None
    tool = waiting["proposal"].get("tool", "") if waiting else ""
    schema = opened.runner.services.tools.schema(tool) if tool else {}
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{argument!r} is not NAME=VALUE", param_hint="--set")
        its = {"$defs": schema.get("$defs", {}), **schema.get("properties", {}).get(name, {})}
        try:
            value: Any = json.loads(text)
        except ValueError:
            value = text
        found[name] = value if value is None or (misfit(text, its) and not misfit(value, its)) else text
    return found or None


def _person(user: str, role: list[str] | None, group: list[str] | None, clearance: Any) -> "Principal":
    from sluicegate.graphs.runtime.intake import principal
    from sluicegate.state import NOBODY

    return principal(user or NOBODY, role, group, clearance)


def _waiting_page(workflow: str, after: str, limit: int, reader: "Principal") -> "tuple[list[Waiting], str]":
    """Some of the runs that wait for approval in this home, or on its server, as `reader` may know of them, and the
    point behind which more wait, if any; whatever waits and is past its deadline goes on first."""
    from sluicegate.graphs.session.checkpoint_reader import questions

    found: list[Waiting] = []
    opened: dict[tuple[str, str], Any] = {}
    read = [*questions(workflow, after, limit + 1)]
    for _, asked in read[:limit]:
        if asked is None:
            continue
        run = asked.state["run"]
        if run["shadow"] or workflow not in ("", run["workflow"]):
            continue
        key = (run["workflow"], run["digest"])
        if key not in opened:
            opened[key] = _opened_version(*key)
        one = opened[key].runner.waiting(run["id"])
        if one is None:
            continue
        try:
            asyncio.run(opened[key].runner.expire(run["id"]))
        except NotWaitingError:
            if one["waits_for"] != "approval":
                continue
            found.append(opened[key].runner.readable(one, asked.state, reader))
    return found, read[limit - 1][0] if len(read) > limit else ""


def _waiting(run: str, reader: "Principal") -> "Waiting":
    """What a run waits for, as `reader` may see it."""
    from sluicegate.graphs.session.checkpoint_reader import recorded

    facts = recorded(run)["run"]
    runner = _opened_version(facts["workflow"], facts["digest"]).runner
    one = runner.waiting(run)
    if one is None or one["waits_for"] != "approval":
        raise NotWaitingError(f"run {run} is not waiting for a decision")
    return asyncio.run(runner.evidence(one, reader))


def _opened_version(workflow: str, digest: str) -> "Opened":
    """The version that a run started with: the current one when it has not changed, else the kept copy."""
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.versions import current, kept

    try:
        present = load(current(workflow))
    except SluicegateError:
        # moved away or broken by an edit; its waiting runs can still be shown
        return open_workflow(kept(digest))
    return open_workflow(present if present.digest == digest else kept(digest))


def _last() -> str:
    """The latest of the waiting runs. Raises `RunError` SG603 when there is none."""
    from sluicegate.graphs.session.checkpoint_reader import all_waiting

    runs = all_waiting()
    if not runs:
        raise NotFoundError("no run is waiting for a decision", hint="List all runs: sluicegate trace list")
    return max(runs, key=lambda run: run["started_at"])["id"]


def _store() -> Any:
    from sluicegate.observe.tracing.storing.shared import open_store

    return open_store()
