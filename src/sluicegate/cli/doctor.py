"""`sluicegate doctor`: what is configured, reachable and missing, and the command that fixes it."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sluicegate.cli._support.console import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow

__all__ = ["app"]

app = typer.Typer(help="Check the installation: models, keys, servers, indexes.")

State = Literal["ok", "warn", "missing"]
MARKS: dict[State, str] = {"ok": "[green]ok[/]", "warn": "[yellow]warn[/]", "missing": "[red]missing[/]"}
ENOUGH_BYTES = 1_000_000_000
"""Free space below which to warn: the weights take 150 MB, their download as much again."""

OLDEST_POSTGRES = 14

_FITTED = {
    "artifact": ("router", "intent"),
    "escalation": ("escalation", "escalate"),
    "joint": ("joint thresholds", "joint"),
}
"""What an artifact of one fit that `router:` names is called, and the task it is fitted for."""


@dataclass(frozen=True, slots=True)
class Line:
    """One finding. `missing` keeps something from working, `warn` does not."""

    what: str
    state: State
    detail: str
    hint: str = ""


@app.command()
def doctor(
    config: Annotated[str, typer.Argument(help="Also check this workflow.")] = "",
    oidc: Annotated[Path | None, typer.Option(help="Also check the OpenID providers of this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Report what is configured, reachable and missing, with the command that fixes it. Keys are never printed."""
    lines = [*_lines(config), *(_provider_lines(oidc) if oidc else ())]
    if as_json:
        emit([asdict(line) for line in lines])
    else:
        from rich.table import Table

        table = Table("", "", box=None, pad_edge=False, show_header=False)
        table.add_column(overflow="fold")
        for line in lines:
            table.add_row(MARKS[line.state], line.what, line.detail)
            if line.hint and line.state != "ok":
                table.add_row("", "", f"[dim]{line.hint}[/]")
        console().print(table)
    if any(line.state == "missing" for line in lines):
        raise typer.Exit(1)


def _lines(config: str) -> Iterator[Line]:
    from sluicegate import __version__

    yield Line("sluicegate", "ok", __version__)
    yield _python()
    yield _folder("home")
    yield _folder("cache")
    yield from _database()
    yield from _webhooks()
    if config:
        yield from _workflow_lines(config)
    else:
        yield from _weights_lines()
        yield from _ollama_lines()
        yield from _key_lines()
    yield _langfuse()


def _python() -> Line:
    running = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Line("python", "ok" if supported else "missing", running, "Use Python 3.11, 3.12 or 3.13")


def _folder(which: Literal["home", "cache"]) -> Line:
    """Whether a folder is writable, and the space left on its disk."""
    import tempfile

    from sluicegate.errors import RunError
    from sluicegate.home import cache_dir, home

    variable = f"SLUICEGATE_{which.upper()}"
    try:
        folder: Path = home() if which == "home" else cache_dir()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
    except (RunError, OSError) as error:
        return Line(which, "missing", str(error), f"Set {variable} to a writable folder")
    free = shutil.disk_usage(folder).free
    detail = f"{folder}, {free / 1e9:.1f} GB free"
    if free < ENOUGH_BYTES:
        return Line(which, "warn", detail, f"Free some space, or set {variable} to a folder on another disk")
    return Line(which, "ok", detail)


def _webhooks() -> Iterator[Line]:
    """Events that no webhook of a server will deliver any more unless somebody sees to it."""
    from sluicegate.errors import SluicegateError
    from sluicegate.serving.webhooks.outbox import Outbox
    from sluicegate.storage.database import is_there, place
    from sluicegate.storage.schemas import WEBHOOKS

    try:
        where = place()
        if not is_there(where, WEBHOOKS):
            return
        with closing(Outbox(where)) as outbox:
            counts, off = outbox.counts(), outbox.off()
    except SluicegateError as error:
        yield Line("webhooks", "warn", str(error))
        return
    dead = {name: count for (name, state), count in counts.items() if state == "dead"}
    for name in sorted({*dead, *off}):
        detail = f"{name}: {dead.get(name, 0)} events were not delivered"
        hint = f"sluicegate webhooks list, then sluicegate webhooks retry {name}, or drop {name}"
        yield Line("webhooks", "warn", f"{detail}; {off[name]}" if name in off else detail, hint)


def _database() -> Iterator[Line]:
    """Whether the database server that machines share is reachable and recent enough."""
    from sluicegate.errors import RunError
    from sluicegate.storage.postgres import URL, configured

    try:
        server = configured()
        if server is None:
            yield Line("database", "ok", f"SQLite in the home; set {URL} to share runs between machines")
            return
        version = server.version()
    except RunError as error:
        yield Line("database", "missing", error.message, error.hint or "")
        return
    from sluicegate.graphs.session.checkpoint_reader import left_at_home

    if waiting := left_at_home():
        detail = f"{waiting} runs wait in the home, from before {URL} was set"
        yield Line("runs", "warn", detail, f"Decide on them with {URL} unset: `sluicegate approvals list`")
    new = int(version.split(".")[0]) >= OLDEST_POSTGRES
    detail = f"{server.name}, version {version}"
    yield Line("database", "ok" if new else "missing", detail, f"Use PostgreSQL {OLDEST_POSTGRES} or later")


def _weights_lines() -> Iterator[Line]:
    from sluicegate.models.inventory import embedded_entries

    for entry in embedded_entries():
        if entry.state == "optional":
            yield Line(entry.model, "ok", f"not here, {entry.bytes / 1e6:,.0f} MB, {entry.detail}")
            continue
        good = entry.state == "ok"
        yield Line(entry.model, "ok" if good else "missing", entry.where if good else entry.detail, entry.hint)


def _ollama_lines() -> Iterator[Line]:
    from sluicegate.errors import ModelError
    from sluicegate.models.inventory import ollama_entries
    from sluicegate.models.providers.ollama import server_url

    try:
        names = [entry.model.removeprefix("ollama:") for entry in asyncio.run(ollama_entries())]
    except ModelError as error:
        yield Line("ollama", "warn", error.message, error.hint or "")
        return
    yield Line("ollama", "ok", f"{server_url()}: {', '.join(names) or 'no models yet'}")


def _key_lines() -> Iterator[Line]:
    from sluicegate.models.providers.langchain import PROVIDERS

    present = [variable for _, variable in PROVIDERS.values() if os.environ.get(variable)]
    yield Line("keys", "ok", f"set: {', '.join(present)}" if present else "none set (local models need none)")


def _workflow_lines(config: str) -> Iterator[Line]:
    from sluicegate.graphs.config.load import inspect

    workflow, problems = inspect(config)
    errors = [problem for problem in problems if problem.severity == "error"]
    if workflow is None or errors:
        yield Line("workflow", "missing", str(errors[0]) if errors else config, f"Run `sluicegate check {config}`")
        return
    yield Line("workflow", "ok", f"{workflow.name} {workflow.version}, digest {workflow.digest[:12]}")
    yield from _role_lines(workflow)
    yield from _index_lines(workflow, config)
    yield from _router_lines(workflow, config)
    yield from _review_lines(workflow)
    yield from _answer_lines(workflow, config)


def _role_lines(workflow: "Workflow") -> Iterator[Line]:
    """Each role, by the first available model of its chain: a fallback is a warning, no model at all is missing."""
    from sluicegate.models.config import LOCAL_PROVIDERS, resolve
    from sluicegate.models.inventory import role_entries

    models = dict(workflow.config.models)
    entries = {entry.model: entry for entry in asyncio.run(role_entries(models))}
    for role in models:
        chain = [entries[name] for name, _ in resolve(models, role)]
        answering = next((entry for entry in chain if entry.state == "ok"), None)
        asked = chain[0]
        if answering is None:
            yield Line(f"role {role}", "missing", f"{asked.model}: {asked.detail}", asked.hint)
        elif answering is not asked:
            detail = f"{answering.model}, the fallback for {asked.model}: {asked.detail}"
            yield Line(f"role {role}", "warn", detail, asked.hint)
        else:
            yield Line(f"role {role}", "ok", asked.model)
        config = models[role]
        if config.provider not in LOCAL_PROVIDERS and config.price_per_mtok is None:
            yield Line(
                f"role {role}", "warn", f"{config.use} has no price, so budgets do not see it", "Add `price_per_mtok`"
            )


def _index_lines(workflow: "Workflow", config: str) -> Iterator[Line]:
    from sluicegate.cli._support.index_languages import unknown_languages
    from sluicegate.errors import SluicegateError
    from sluicegate.retrieval.catalog import Catalog
    from sluicegate.retrieval.stores.sharing import looked_at

    for name, index in workflow.config.indexes.items():
        try:
            folder, fault = looked_at(workflow.name, name, index)
            with closing(Catalog(folder, name=name)) as catalog:
                head = catalog.head()
                warning = unknown_languages(workflow, name, catalog, head) if head else None
        except SluicegateError as error:
            fix = error.hint if index.store else None
            yield Line(f"index {name}", "missing", error.message, fix or f"Run `sluicegate ingest {config}`")
            continue
        if head is None:
            yield Line(f"index {name}", "missing", "empty", f"Run `sluicegate ingest {config}`")
        else:
            detail, hint = f"{head.chunks} passages by {head.embedder}, {head.ingested_at[:16]}", ""
            if warning:
                detail, hint = f"{detail}; {warning.code} {warning.message}", warning.hint or ""
            if fault:
                detail, hint = f"{detail}; the last version that was fetched serves: {fault}", "Bring the store back"
            yield Line(f"index {name}", "warn" if warning or fault else "ok", detail, hint)


def _router_lines(workflow: "Workflow", config: str) -> Iterator[Line]:
    from sluicegate.errors import SluicegateError
    from sluicegate.graphs.config.inputs.joint import misfit
    from sluicegate.learning.artifact import read_card

    router = workflow.config.router
    if router.artifact is None:
        yield Line("router", "ok", f"strategy {router.strategy}, no artifact")
    for key, (what, task) in _FITTED.items():
        artifact = router.artifacts.get(key)
        if artifact is None:
            continue
        option = "" if task == "intent" else f" --task {task}"
        try:
            card = read_card(workflow.find(artifact), task=task, fit=f"sluicegate router fit {config}{option}")
        except SluicegateError as error:
            yield Line(what, "missing", error.message, f"Run `sluicegate router fit {config}{option}`")
            continue
        detail = f"{artifact}, hash {str(card.get('hash', ''))[:12]}"
        joint = router.joint if key == "joint" else None
        if joint and (other := misfit(workflow.config, workflow.settings, workflow.resolved, card)):
            unlike = f"SG312 {detail}: fitted to {other}, so {joint.on_drift} thresholds serve"
            yield Line(what, "warn", unlike, f"Run `sluicegate router fit {config}{option}`")
        elif task != "intent" or "likeness" in card:
            yield Line(what, "ok", detail)
        else:
            untested = f"{detail}: trusts labels of requests in any language, however unlike its calibration rows"
            yield Line(what, "warn", untested, f"Fit it again: `sluicegate router fit {config}`")


def _review_lines(workflow: "Workflow") -> Iterator[Line]:
    from sluicegate.errors import SluicegateError
    from sluicegate.learning.artifact import read_card
    from sluicegate.routing.review.reviewer import FIT, TASK

    artifact = workflow.config.guards.slm_review.artifact
    if artifact is None:
        return
    try:
        card = read_card(workflow.find(artifact), task=TASK, fit=FIT)
    except SluicegateError as error:
        yield Line("reviewer", "missing", error.message, f"Run `{FIT} --data FILE --calibration FILE --out {artifact}`")
        return
    bound = f"passes at most {card['threshold']['bound']:.0%} of improper drafts"
    yield Line("reviewer", "ok", f"{artifact}, hash {card['hash'][:12]}: {bound}")


def _answer_lines(workflow: "Workflow", config: str) -> Iterator[Line]:
    """Whose answers have a fitted confidence; those of the others never reach the threshold."""
    from sluicegate.graphs.config.inputs.artifacts import answers_fitted

    named = workflow.config.router.answers
    if named is None:
        return
    nodes = answers_fitted(workflow.config, workflow.settings, workflow.resolved.artifact(named))
    for (model, style), fitted in {origin: ok for fits in nodes.values() for origin, ok in fits.items()}.items():
        detail = f"{model} in style {style!r}: " + (
            "fitted" if fitted else "SG310 no fit, its answers stay below the threshold"
        )
        hint = f"Run `sluicegate router fit {config} --task answer --model {model} --style {style}`"
        yield Line("answer confidence", "ok" if fitted else "warn", detail, hint)


def _provider_lines(file: Path) -> Iterator[Line]:
    """Whether each provider answers with keys that can be used, and what is to be entered there for the console."""
    from sluicegate.errors import ConfigError, RunError
    from sluicegate.extras import extra

    try:
        with extra("serve", "sign-on with OpenID", partial(RunError, "SG624")):
            from sluicegate.serving.http.callers.oidc.provider import IdentityProvider, ProviderError
            from sluicegate.serving.http.callers.oidc.settings import read_settings
        settings = read_settings(file)
    except (ConfigError, RunError) as error:
        yield Line("sign-on", "missing", str(error), error.hint or "")
        return
    for issuer in settings.issuers:
        try:
            _, keys = asyncio.run(IdentityProvider(issuer.issuer).check())
        except ProviderError as error:
            yield Line("sign-on", "missing", error.message, f"Check `issuer` in {file}, and the provider")
            continue
        detail = f"{issuer.issuer}, {keys} keys"
        if issuer.sign_in:
            detail += f", redirect URI {settings.redirect_uri(issuer)}"
        lacking = issuer.sign_in and issuer.sign_in.client_secret_env
        if lacking and not os.environ.get(lacking):
            yield Line("sign-on", "missing", f"{detail}; {lacking} is not set", f"Set {lacking} to the client's secret")
        else:
            yield Line("sign-on", "ok" if keys else "missing", detail, "It publishes no key that signatures can have")


def _langfuse() -> Line:
    from sluicegate.observe.exporters.langfuse import Keys, server_state

    keys = Keys.configured()
    if keys is None:
        return Line("langfuse", "ok", "not configured; runs are recorded in the local store")
    state = server_state(keys)
    if not state.reachable:
        return Line("langfuse", "warn", f"{keys.host} is not reachable: {state.reason}", "Check LANGFUSE_HOST")
    if unsent := _unsent(keys.host):
        return Line("langfuse", "warn", f"{keys.host} lacks {unsent} of the week's runs", "Run `sluicegate trace push`")
    return Line("langfuse", "ok", f"{keys.host}, version {state.words}")


def _unsent(host: str) -> int:
    """The runs of the last seven days that a Langfuse server has not confirmed."""
    from sluicegate.observe.tracing.storing.shared import open_store
    from sluicegate.storage.database import is_there, place
    from sluicegate.storage.schemas import TRACES

    if not is_there(place(), TRACES):
        return 0
    week_ago = time.time_ns() - 7 * 24 * 3600 * 10**9
    with closing(open_store()) as store:
        return len(store.undelivered(f"langfuse {host}", since_ns=week_ago))
