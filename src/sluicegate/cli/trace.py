"""`sluicegate trace`: show, follow, export and score the runs of the local store."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sluicegate.cli._support.console import AsJson, console, emit, notes, write
from sluicegate.cli._support.options import Since, since_ns
from sluicegate.errors import RunError, SluicegateError, UnwritableError

if TYPE_CHECKING:
    from sluicegate.graphs.session.reading_rights import RecordedRun
    from sluicegate.observe.tracing.reading.filters import RunFilter
    from sluicegate.observe.tracing.settings import TraceSettings
    from sluicegate.observe.tracing.store import Store
    from sluicegate.state import Principal

__all__ = ["app"]

app = typer.Typer(help="List, show and export runs.", no_args_is_help=True)

Run = Annotated[str, typer.Argument(help="Run id, a unique prefix, or `last`.")]
Workflow = Annotated[str, typer.Option(help="Only this workflow.")]
As = Annotated[
    str,
    typer.Option("--as", help="Show only what policy lets this user see; by default every run, and of what rests on"
                 " documents only what all may read."),
]  # fmt: skip
Groups = Annotated[list[str] | None, typer.Option("--group", help="Group of that user (repeatable).")]
Clearances = Annotated[
    Literal["public", "internal", "confidential", "restricted"], typer.Option("--clearance", help="Their clearance.")
]
Roles = Annotated[list[str] | None, typer.Option("--role", help="Role of that user (repeatable).")]


class ExportFormat(StrEnum):
    """Output format of `trace export`."""

    jsonl = "jsonl"
    otlp = "otlp"


@app.command()
def user(name: Annotated[str, typer.Argument(help="User id.")], as_json: AsJson = False) -> None:
    """Print the name that the traces and the access log of this home give a user."""
    from sluicegate.observe.tracing.masking import Masking

    hashed = Masking().user(name)
    if as_json:
        emit({"user": name, "name": hashed})
    else:
        console().print(hashed, markup=False)


@app.command("list")
def list_runs(
    workflow: Workflow = "",
    path: Annotated[str, typer.Option(help="Only runs on this path: cache, slm, rag-slm, rag-llm, …")] = "",
    intent: Annotated[str, typer.Option(help="Only this intent.")] = "",
    status: Annotated[str, typer.Option(help="Only this status: running, waiting, answered, refused or failed.")] = "",
    user: Annotated[str, typer.Option(help="Only this user's runs.")] = "",
    since: Since = "",
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 20,
    shadow: Annotated[bool, typer.Option("--shadow", help="Include shadow runs.")] = False,
    asker: As = "",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    from sluicegate.observe.tracing.reading.pages import page_of_runs, requesters

    which = _filter(workflow, path, intent, status, user, since, shadow=shadow)
    store = _store()
    if asker:
        from sluicegate.observe.tracing.masking import Masking
        from sluicegate.observe.views.access import may_see, sight_of

        principal, policy = _principal(asker, role)
        rules = principal, policy, Masking()
        which = replace(which, within=(sight_of("", requesters(store), *rules),))
        runs = page_of_runs(store, which, limit=limit, shown=lambda run: may_see(run, *rules)).rows
    else:
        runs = store.runs(which, limit=limit)
    if as_json:
        shown = _shown(store, _reader(asker, role, group, clearance))
        emit([shown(run).row for run in runs])
        return
    from sluicegate.observe.views.render import runs_table

    console().print(runs_table(runs) if runs else "no runs")


@app.command()
def show(
    run: Run,
    html: Annotated[Path | None, typer.Option(help="Write one self-contained HTML page to this file.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Workflow file, to draw the run on its graph in the page.")
    ] = None,
    asker: As = "",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:
    """Show one run: every step, decision, model call and check, with timings and cost."""
    store = _store()
    shown = _shown(store, _reader(asker, role, group, clearance))(_one(store, run, asker, role))
    if html is not None:
        from sluicegate.observe.views.page import page

        graph = _graph(config, shown) if config is not None else ""
        _write(html, page(shown.row, shown.spans, shown.decisions, shown.scores, graph=graph))
    if as_json:
        emit(_plain(shown))
    elif html is not None:
        notes().print(f"{html}: {len(shown.spans)} observations of {shown.row['run_id']}")
    else:
        from sluicegate.observe.views.render import run_view

        console().print(run_view(shown.row, shown.spans, shown.scores))


@app.command()
def tail(
    workflow: Workflow = "",
    count: Annotated[int, typer.Option("--count", "-n", help="Exit after this many; 0 to follow until Ctrl-C.")] = 0,
    asker: As = "",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:
    """Follow runs live, one line per observation as it ends."""
    from sluicegate.observe.tracing.withholding import without_texts
    from sluicegate.observe.views.render import span_line

    store, screen = _store(), console()
    seen = _shown(store, _reader(asker, role, group, clearance))
    for shown, span in enumerate(_follow(store, workflow), start=1):
        if seen(store.run(span["run_id"])).row.get("withheld"):
            span |= {"attributes": without_texts(span["attributes"]), "message": ""}
        if as_json:
            write(json.dumps(span, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            screen.print(span_line(span["run_id"], span), soft_wrap=True)
        if shown == count:
            return


@app.command()
def usage(workflow: Workflow = "", since: Since = "", as_json: AsJson = False) -> None:
    """Summarise runs: share per path, large-model calls avoided, cost compared with the large model alone."""
    from sluicegate.observe.tracing.reading.usage import usage as summarised

    found = summarised(_store(), _filter(workflow, since=since))
    if as_json:
        emit(found)
        return
    from sluicegate.observe.views.render import usage_view

    console().print(usage_view(found))


@app.command()
def export(
    run: Annotated[list[str] | None, typer.Argument(help="Run ids; by default all runs.")] = None,
    format: Annotated[
        ExportFormat, typer.Option("--format", help="JSON Lines of runs, or one OTLP/JSON request per line.")
    ] = ExportFormat.jsonl,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Output file.")] = None,
    workflow: Workflow = "",
    since: Since = "",
    asker: As = "",
    role: Roles = None,
    group: Groups = None,
    clearance: Clearances = "internal",
    as_json: AsJson = False,
) -> None:
    """Export complete runs, one JSON document per line; with --json as one list."""
    store = _store()
    rows = (
        [store.run(each) for each in run] if run else store.runs(_filter(workflow, since=since, shadow=True), limit=-1)
    )
    shown = _shown(store, _reader(asker, role, group, clearance))
    documents = (_document(store, shown(row), format) for row in reversed(rows))
    if as_json:
        emit(list(documents))
        return
    lines = (json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
    if out is None:
        for line in lines:
            write(line)
    else:
        _write(out, "".join(lines))
        notes().print(f"{out}: {len(rows)} runs")


@app.command()
def push(
    since: Since = "7d",
    again: Annotated[
        bool, typer.Option("--again", help="Send again what the destinations have already confirmed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send runs to Langfuse and the OTLP collector that they have not confirmed yet."""
    from sluicegate.graphs.session.reading_rights import ReadingRights
    from sluicegate.observe.exporters.destinations import senders
    from sluicegate.observe.exporters.export import Withholding
    from sluicegate.observe.exporters.resend import push as send

    to = senders()
    if not to:
        raise RunError(
            "SG613", "no destination is configured", hint="Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, or "
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        )  # fmt: skip
    store = _store()
    withheld = ReadingRights().abroad(store)
    results = send(store, [Withholding(sender, withheld) for sender in to], since_ns=since_ns(since), again=again)
    if as_json:
        emit([asdict(each) for each in results])
    for each in [] if as_json else results:
        left = f", {len(each.failures)} failed" if each.failures else ""
        left += f", {each.unsent} not tried" if each.unsent else ""
        console().print(f"{each.destination}: {each.runs} runs sent{left}", soft_wrap=True)
        for run_id, reason in each.failures.items():
            console().print(f"  {run_id}: {reason}", soft_wrap=True)
    if any(each.failures for each in results):
        raise typer.Exit(1)


@app.command("destinations")
def show_destinations(as_json: AsJson = False) -> None:
    """Show where traces are sent, and whether the servers there accept them."""
    from sluicegate.observe.exporters.destinations import destinations
    from sluicegate.observe.exporters.langfuse import Keys, check_keys, server_state

    keys = Keys.configured()
    found: dict[str, Any] = {"summary": destinations()}
    if keys is not None:
        state = server_state(keys)
        refused = check_keys(keys) if state.reachable else state.reason
        found["langfuse"] = {"host": keys.host, "version": state.words, "problem": refused}
    if as_json:
        emit(found)
        return
    console().print(found["summary"], soft_wrap=True)
    if keys is not None:
        said = found["langfuse"]
        console().print(f"Langfuse {said['version']} at {said['host']}: {said['problem'] or 'ok'}", soft_wrap=True)


@app.command()
def feedback(
    run: Run,
    score: Annotated[
        list[str],
        typer.Option("--score", help="NAME=VALUE, where VALUE is a number, true, false or a word (repeatable)."),
    ],
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    by: Annotated[str, typer.Option("--as", help="User id of the scorer; stored as a keyed hash.")] = "",
    as_json: AsJson = False,
) -> None:
    """Score a run. `--score correct_intent=LABEL` corrects its intent and makes it labelled data."""
    from sluicegate.graphs.session.reading_rights import ReadingRights
    from sluicegate.observe.exporters.destinations import configured_exporters
    from sluicegate.observe.tracing.masking import Masking
    from sluicegate.observe.tracing.tracer import RecordingTracer, require_finite

    store = _store()
    row = _one(store, run)
    scores = [_score(each) for each in score]
    for name, value in scores:
        # all of them first: a call is kept whole, or not at all
        require_finite(name, value)
    exporters = configured_exporters(ReadingRights().abroad(store))
    tracer = RecordingTracer(store, exporters, Masking(_settings(row["digest"])))
    given = [tracer.feedback(row["run_id"], name, value, comment=comment, by=by) for name, value in scores]
    tracer.hand_over()
    if as_json:
        emit([{"id": each.id, "run": each.run_id, "name": each.name, "value": each.value} for each in given])
    else:
        console().print(f"{row['run_id']}: " + ", ".join(f"{each.name} = {each.value}" for each in given))


def _settings(digest: str) -> "TraceSettings | None":
    """The trace settings of the version that ran; None when there is no copy of it."""
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.runtime.versions import kept

    try:
        return load(kept(digest)).config.tracing
    except SluicegateError:
        return None


def _store() -> "Store":
    from sluicegate.observe.tracing.storing.shared import open_store

    return open_store()


def _one(store: "Store", run: str, asker: str = "", role: list[str] | None = None) -> dict[str, Any]:
    """The row of a run. Raises `RunError` SG603, and SG610 when `asker` may not see it."""
    if run == "last":
        runs = store.runs(limit=1)
        run = runs[0]["run_id"] if runs else run
    row = store.run(run)
    if asker:
        from sluicegate.observe.tracing.masking import Masking
        from sluicegate.observe.views.access import must_see

        must_see(row, *_principal(asker, role), Masking())
    return row


def _principal(asker: str, role: list[str] | None) -> "tuple[Principal, Any]":
    from sluicegate.policies.cedar.engine import CedarEngine
    from sluicegate.policies.cedar.sources import policy_files

    principal: Principal = {"id": asker, "roles": role or [], "groups": [], "clearance": "internal"}
    return principal, CedarEngine(policy_files())


def _filter(
    workflow: str = "",
    path: str = "",
    intent: str = "",
    status: str = "",
    user: str = "",
    since: str = "",
    *,
    shadow: bool = False,
) -> "RunFilter":
    from sluicegate.observe.tracing.masking import Masking
    from sluicegate.observe.tracing.reading.filters import RunFilter

    # a workflow may record plain user names
    users = (user, Masking().user(user)) if user else ()
    return RunFilter(workflow, path, intent, status, users=users, since_ns=since_ns(since), shadow=shadow)


def _score(text: str) -> tuple[str, float | bool | str]:
    name, given, value = text.partition("=")
    if not given or not name or not value:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE")
    if value in ("true", "false"):
        return name, value == "true"
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _document(store: "Store", shown: "RecordedRun", format: ExportFormat) -> dict[str, Any]:
    if format is ExportFormat.otlp:
        from sluicegate.observe.exporters.otlp import as_json
        from sluicegate.observe.tracing.withholding import trace_without_texts

        trace = store.trace(shown.row["run_id"])
        return as_json(trace_without_texts(trace) if shown.row.get("withheld") else trace)
    return _plain(shown)


def _plain(shown: "RecordedRun") -> dict[str, Any]:
    return {"run": shown.row, "spans": shown.spans, "scores": shown.scores}


def _shown(store: "Store", reader: "Principal") -> "Callable[[dict[str, Any]], RecordedRun]":
    """A function that gives a run, by its row, as `reader` may see it."""
    from sluicegate.graphs.session.reading_rights import ReadingRights

    rights = ReadingRights()
    return lambda row: rights.shown(store, row, reader)


def _graph(config: Path, shown: "RecordedRun") -> str:
    """The workflow's graph with the way of a run."""
    from sluicegate.graphs.config.load import load
    from sluicegate.graphs.session.run_picture import picture_of_run

    return picture_of_run(load(config), shown)


def _reader(asker: str, role: list[str] | None, group: list[str] | None, clearance: Any) -> "Principal":
    from sluicegate.state import NOBODY

    return {"id": asker or NOBODY, "roles": role or [], "groups": group or [], "clearance": clearance}


def _follow(store: "Store", workflow: str) -> Iterator[dict[str, Any]]:
    """Observations as they are committed, from now on."""
    seen = store.last()
    while True:
        for span in store.since(seen):
            seen = span["seq"]
            if not workflow or store.run(span["run_id"])["workflow"] == workflow:
                yield span
        time.sleep(0.2)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror}", hint="Choose another output file") from error
