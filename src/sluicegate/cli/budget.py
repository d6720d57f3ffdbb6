"""`sluicegate budget`: spending and what is left of the caps; the kill switch; the ledger's clock."""

import getpass
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sluicegate.cli._support.console import AsJson, console, emit

if TYPE_CHECKING:
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.policies.config import BudgetConfig
    from sluicegate.policies.ledger.ledger import BudgetLedger

__all__ = ["app"]

app = typer.Typer(help="Show spending; switch models, intents and workflows off and on.", no_args_is_help=True)
switch_app = typer.Typer(help="Switch models, intents and workflows off and on.", no_args_is_help=True)
app.add_typer(switch_app, name="switch")

Name = Annotated[str, typer.Argument(help="model:NAME, intent:NAME or workflow:NAME; model:* stands for every model.")]
Reason = Annotated[str, typer.Option(help="Reason, recorded with the switch and in the audit log.")]
Actor = Annotated[str, typer.Option("--by", help="Acting user; by default the signed-in one.")]


@app.command()
def show(
    config: Annotated[Path | None, typer.Argument(help="Workflow file; shows the use of its caps.")] = None,
    by: Annotated[
        Literal["workflow", "model", "intent", "principal", "day", "run"], typer.Option(help="Group by.")
    ] = "workflow",
    days: Annotated[int, typer.Option(min=1, help="Number of days (UTC), today included.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show estimated, reserved and actual spending, and what the caps leave."""
    loaded = _workflow(config)
    workflow, prices = (loaded.name, _prices(loaded)) if loaded else ("", [])
    ledger = _ledger(loaded.config.budget if loaded else None, look=True)
    since = (datetime.now(UTC) - timedelta(days=days - 1)).date().isoformat()
    caps = ledger.caps(workflow) if workflow else []
    spending = ledger.spending(by=by, since=since)
    cache = _cache()
    if as_json:
        rows = [{**asdict(cap), "left": cap.left} for cap in caps]
        emit({"since": since, "caps": rows, "prices": prices, "spending": spending, "cache": cache})
        return
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    if caps:
        table = Table("cap", "of", "limit", "spent", "reserved", "left", title=f"{workflow}, today")
        for cap in caps:
            amounts = [
                f"${a:.4f}" if cap.unit == "usd" else f"{a:.0f}" for a in (cap.limit, cap.spent, cap.held, cap.left)
            ]
            table.add_row(cap.name, escape(cap.of), *amounts, style="red" if cap.left <= 0 else "")
        screen.print(table)
    if prices:
        table = Table("role", "model", "input", "output", "as of", title="US dollars per million tokens")
        for row in prices:
            age = f"{row['priced_on']}, {row['age_days']} days ago" if row["priced_on"] else "no date; set `priced_on`"
            table.add_row(row["role"], escape(row["model"]), f"{row['input']:g}", f"{row['output']:g}", age)
        screen.print(table)
    table = Table(by, "calls", "estimated", "spent", "reserved", "tokens", "expired", title=f"since {since}")
    for row in spending:
        dollars = [f"${row[key]:.4f}" for key in ("estimated_usd", "usd", "held_usd")]
        table.add_row(escape(row[by]), str(row["calls"]), *dollars, str(row["tokens"]), str(row["expired"]))
    screen.print(table if spending else f"nothing spent since {since}")
    if cache and cache["hits"] + cache["misses"]:
        screen.print(f"answer cache: {cache['hit_rate']:.0%} of look-ups hit, ${cache['saved_usd']:.4f} saved")


@app.command()
def estimate(
    config: Annotated[Path, typer.Argument(help="The workflow's file.")],
    data: Annotated[str, typer.Argument(help="A text, a file or a .jsonl file of requests; `-` reads standard input.")],
    as_json: AsJson = False,
) -> None:
    """Show the upper bound of what a batch costs. Exits with 1 when less than that is left of the day's budget."""
    from sluicegate.cli._support.batch import cost_line, left_of_the_day, texts_of
    from sluicegate.cli.run import requests_in
    from sluicegate.evals.evaluation.estimate import CostBounds
    from sluicegate.evals.evaluation.estimate import estimate as bound
    from sluicegate.graphs.runtime.factory import open_workflow
    from sluicegate.graphs.runtime.intake import principal

    opened = open_workflow(config / "workflow.yaml" if config.is_dir() else config, dry=True, shadow=True)
    found = bound(CostBounds(opened), texts_of(requests_in(data, principal("me"))))
    left = left_of_the_day(opened.workflow)
    fits = found.usd is None or left is None or found.usd <= left
    if as_json:
        emit({**asdict(found), "left_of_the_day_usd": left, "fits": fits})
    else:
        console().print(cost_line(found, left), markup=False, soft_wrap=True)
    if not fits:
        raise typer.Exit(1)


@app.command()
def clock(
    accept: Annotated[bool, typer.Option("--accept", help="Accept this machine's clock as correct.")] = False,
    by: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Let the ledger continue after the clock was set back."""
    if not accept:
        raise typer.BadParameter("pass --accept to accept this machine's clock as correct")
    _ledger().accept_clock()
    _audit("budget.clock", {"accepted": datetime.now(UTC).isoformat()}, by)
    if as_json:
        emit({"accepted": True})
    else:
        console().print("clock accepted")


@switch_app.command("off")
def switch_off(name: Name, reason: Reason, by: Actor = "", as_json: AsJson = False) -> None:
    """Switch something off, immediately, in every running process of this home."""
    from sluicegate.serving.operating import switches

    switched = switches.switch_off(name, reason=reason, by=_actor(by))
    if as_json:
        emit(asdict(switched))
    else:
        console().print(f"{name} is off: {reason}", markup=False)


@switch_app.command("on")
def switch_on(name: Name, reason: Reason = "", by: Actor = "", as_json: AsJson = False) -> None:
    """Switch something back on."""
    from sluicegate.serving.operating import switches

    changed = switches.switch_on(name, reason=reason, by=_actor(by))
    if as_json:
        emit({"name": name, "changed": changed})
    else:
        console().print(f"{name} is on again" if changed else f"{name} was not off", markup=False)


@switch_app.command("list")
def switch_list(as_json: AsJson = False) -> None:
    """List what is switched off."""
    from rich.markup import escape
    from rich.table import Table

    from sluicegate.policies.kill_switch import KillSwitch

    entries = KillSwitch().entries()
    if as_json:
        emit([asdict(entry) for entry in entries])
        return
    table = Table("off", "reason", "by", "since")
    for entry in entries:
        table.add_row(*map(escape, [entry.name, entry.reason, entry.by, entry.at]))
    console().print(table if entries else "nothing is switched off")


def _workflow(config: Path | None) -> "Workflow | None":
    if config is None:
        return None
    from sluicegate.graphs.config.load import load

    return load(config / "workflow.yaml" if config.is_dir() else config)


def _prices(workflow: "Workflow") -> list[dict[str, Any]]:
    """The price of each role's model, and the age of that price."""
    today = datetime.now(UTC).date()
    return [
        {
            "role": role,
            "model": model.use,
            "input": price.input,
            "output": price.output,
            "priced_on": price.priced_on.isoformat() if price.priced_on else None,
            "age_days": (today - price.priced_on).days if price.priced_on else None,
        }
        for role, model in workflow.config.models.items()
        if (price := model.price_per_mtok)
    ]


def _ledger(budget: "BudgetConfig | None" = None, *, look: bool = False) -> "BudgetLedger":
    from sluicegate.policies.ledger.factory import open_ledger

    return open_ledger(budget, look=look)


def _cache() -> "dict[str, float] | None":
    from sluicegate.policies.cache.cache import AnswerStore
    from sluicegate.retention.rows import there
    from sluicegate.storage.schemas import CACHE

    return {**AnswerStore(look=True).stats()} if there(CACHE) else None  # pyright: ignore[reportReturnType]


def _actor(by: str) -> str:
    return by or getpass.getuser()


def _audit(event: str, facts: dict[str, str], by: str) -> None:
    from sluicegate.observe.audit.log import open_audit

    open_audit().append(event, actor=_actor(by), facts=facts)
