"""`sluicegate audit`: verify, export and prove the audit log, of this home or of all machines that share a server;
erase a person; prune what is past retention."""

import asyncio
import getpass
import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluicegate.cli._support.console import AsJson, console, emit, write
from sluicegate.files import json_lines

if TYPE_CHECKING:
    from sluicegate.observe.audit.shared.store import SharedAudit
    from sluicegate.observe.audit.shared.verify_all import Chain
    from sluicegate.observe.audit.verify import AuditVerdict
    from sluicegate.retention.erase import Erasure

__all__ = ["app"]

app = typer.Typer(help="Verify and export the audit log.", no_args_is_help=True)

Key = Annotated[Path | None, typer.Option(help="Trusted public key (PEM), instead of the one stored with the log.")]
Out = Annotated[Path | None, typer.Option(help="Output file; standard output by default.")]
Actor = Annotated[str, typer.Option("--by", help="Acting user; by default the signed-in one.")]


@app.command()
def verify(
    folder: Annotated[Path | None, typer.Option(help="A copy of the log; by default the one of this home.")] = None,
    key: Key = None,
    witness: Annotated[
        Path | None, typer.Option(help="Externally kept checkpoints, as printed by `audit checkpoint`, one per line.")
    ] = None,
    proof: Annotated[Path | None, typer.Option(help="Check this proof; no log is needed.")] = None,
    everywhere: Annotated[
        bool, typer.Option("--all", help="Every machine's chain on the database server, and this home.")
    ] = False,
    trusted: Annotated[
        Path | None,
        typer.Option(help="A file of pinned keys, with --all or --proof; with --all by default this home's."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Detect edits, deletions, truncation and reordering; with --all also chains that are missing, that nobody
    registered or that are signed with a key that is not pinned. Exits with 1 when there are any."""
    from sluicegate.observe.audit.proof import check_proof
    from sluicegate.observe.audit.shared.trust import pinned
    from sluicegate.observe.audit.verify import verify as verified
    from sluicegate.serving.operating import audit_state

    pem = key.read_bytes() if key else None
    if proof:
        holds, message = check_proof(_read(proof), public_key=pem, trusted=pinned(trusted) if trusted else None)
        if as_json:
            emit({"holds": holds, "message": message})
        else:
            console().print(("proof holds: " if holds else "proof does not hold: ") + message, markup=False)
        raise typer.Exit(0 if holds else 1)
    if folder and everywhere:
        raise typer.BadParameter("choose one of --folder and --all")
    witnessed: list[Any] = _lines(witness) if witness else []
    if folder:
        verdict = verified(folder, public_key=pem, witnessed=witnessed)
    else:
        verdict = audit_state.verified(public_key=pem, witnessed=witnessed, everywhere=everywhere, trusted=trusted)
    if as_json:
        emit({"tampered": verdict.tampered, **asdict(verdict)})
    else:
        _say(verdict)
    raise typer.Exit(1 if verdict.tampered else 0)


@app.command()
def export(
    run: Annotated[str, typer.Option(help="Only this run.")] = "",
    workflow: Annotated[str, typer.Option(help="Only this workflow.")] = "",
    since: Annotated[str, typer.Option(help="Only records from this time on (ISO 8601).")] = "",
    until: Annotated[str, typer.Option(help="Only records before this time (ISO 8601).")] = "",
    names: Annotated[bool, typer.Option("--names", help="Resolve pseudonyms to user ids.")] = False,
    texts: Annotated[bool, typer.Option("--texts", help="Include texts that were kept and not erased.")] = False,
    folder: Annotated[Path | None, typer.Option(help="A copy of the log; by default the one of this home.")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Write the records as JSON Lines (with --json as one list), oldest first; with a database server those of every
    machine, merged by time. Damaged records are left out."""
    from sluicegate.observe.audit.proof import records
    from sluicegate.observe.audit.shared.reading import merged
    from sluicegate.observe.audit.shared.store import SharedAudit
    from sluicegate.observe.tracing.pseudonyms import Payloads
    from sluicegate.storage.postgres import configured

    # read only: a log that was tampered with, or lies on a read-only disk, is exported all the same
    server = None if folder else configured()
    folder = folder or _home_log()
    payloads = Payloads(folder / "payloads.sqlite", server) if names or texts else None
    people = payloads.names() if payloads and names else {}
    rows: list[dict[str, Any]] = []
    chosen: Iterable[tuple[dict[str, Any], str, str]]
    chosen = (
        merged(SharedAudit(server), folder, run) if server else ((body, "", own) for body, _, own in records(folder))
    )
    for body, chain, own in chosen:
        if (run and body.get("run") != run) or (workflow and body.get("workflow") != workflow):
            continue
        if (since and body["at"] < since) or (until and body["at"] >= until):
            continue
        row = {**body, "hash": own, **({"chain": chain} if chain else {})}
        if names:
            row["actor"] = people.get(body.get("actor", ""), body.get("actor", ""))
            row["people"] = {part: people.get(who, who) for part, who in body.get("people", {}).items()}
        if payloads and texts and "texts" in body:
            kept = {payload.id: payload.text for payload in payloads.of_run(body.get("run", ""))}
            row["texts"] = {
                name: {**text, "text": kept.get(text.get("payload", ""))} for name, text in body["texts"].items()
            }
        rows.append(row)
    if as_json:
        _write(out, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    else:
        _write(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@app.command()
def prove(
    run: Annotated[str, typer.Argument(help="A run id.")],
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Prove one run's records up to a signed checkpoint, with a database server in every machine's chain; `audit verify
    --proof FILE` checks the proof anywhere."""
    from sluicegate.observe.audit.log import open_audit
    from sluicegate.observe.audit.proof import prove as proved
    from sluicegate.observe.audit.shared.reading import prove_shared
    from sluicegate.storage.postgres import configured

    del as_json
    with closing(open_audit()) as log:
        if configured():
            # what only this home has so far
            log.checkpoint()
            proof = prove_shared(_shared(), run)
        else:
            proof = proved(log, run)
    _write(out, json.dumps(proof, ensure_ascii=False, indent=2) + "\n")


@app.command()
def checkpoint(out: Out = None, as_json: AsJson = False) -> None:
    """Sign the current end of the log, and of every machine's where they share a server. Keep the output elsewhere: it
    reveals a later truncation or rewrite, or a database that was put back."""
    from sluicegate.observe.audit.log import open_audit

    with closing(open_audit()) as log:
        statement = log.checkpoint()
    _write(out, json.dumps(statement, ensure_ascii=False, indent=2 if as_json else None) + "\n")


@app.command()
def chains(as_json: AsJson = False) -> None:
    """List the chains on the database server: who writes each, with which key, how far it has come."""
    from rich.table import Table

    from sluicegate.observe.audit.shared.trust import pinned

    pins = pinned()
    rows: list[dict[str, Any]] = [
        {
            "chain": chain.id,
            "host": chain.host,
            "since": chain.since,
            "records": chain.last,
            "last_at": chain.last_at,
            "ended": chain.ended,
            "fingerprint": chain.fingerprint,
            "pinned": pins is not None and chain.fingerprint in pins,
        }
        for chain in _standing()
    ]
    if as_json:
        emit(rows)
        return
    table = Table("chain", "host", "since", "records", "last signed", "key", "state")
    for row in rows:
        state = ("ended" if row["ended"] else "open") + (", pinned" if row["pinned"] else "")
        cells = ("chain", "host", "since", "records", "last_at")
        table.add_row(*(str(row[cell]) for cell in cells), f"{row['fingerprint'][:16]}…", state)
    console().print(table)


@app.command()
def trust(
    key: Annotated[str, typer.Argument(help="A chain, or the fingerprint of a key or its beginning.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every key that the server names now.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Trust this key no longer.")] = False,
    file: Annotated[Path | None, typer.Option(help="Another file of pinned keys than this home's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Pin the keys whose signatures count in `audit verify --all`. Compare each fingerprint with what `audit trust
    --json` says on its own machine: whoever can write the database can name a key there, and cannot pin it here."""
    from sluicegate.observe.audit.keys import private_key
    from sluicegate.observe.audit.shared.trust import fingerprint, pin, pinned, unpin

    if remove or every or key:
        known = pinned(file) or {} if remove else {each.fingerprint: _about(each) for each in _standing()}
        chosen = {
            one: about
            for one, about in known.items()
            if every or (key and (one.startswith(key) or key in about.split()))
        }
        if len(chosen) != 1 and not every:
            choices = "; ".join(f"{one[:16]} ({about})" for one, about in known.items()) or "none"
            raise typer.BadParameter(f"name one key: {choices}")
        if remove:
            unpin(chosen, file)
        else:
            pin(chosen, file)
    own = fingerprint(private_key().public_key())
    pins = pinned(file)
    if as_json:
        emit({"own": own, "pinned": pins})
        return
    screen = console()
    screen.print(f"this machine's key: {own}", markup=False, soft_wrap=True)
    for each, about in (pins or {}).items():
        screen.print(f"pinned: {each}  {about}", markup=False, soft_wrap=True)
    if pins is None:
        screen.print("no key is pinned: the server's word is taken", markup=False)


@app.command()
def restored(
    reason: Annotated[str, typer.Argument(help="Why the database was put back; it goes into the audit log.")],
    by: Actor = "",
    as_json: AsJson = False,
) -> None:
    """After the database was restored on purpose: send what it lost of this home again, and go on from there, on
    record. Each machine does so for itself."""
    from sluicegate.observe.audit.log import open_audit

    _shared()
    with closing(open_audit()) as log:
        sent = log.send_again(reason, by=by or getpass.getuser())
    if as_json:
        emit({"records": sent})
    else:
        console().print(f"the server has all {sent} records of this home again")


@app.command()
def erase(
    person: Annotated[str, typer.Argument(help="The person's user id, as in requests.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    by: Actor = "",
    as_json: AsJson = False,
) -> None:
    """Erase a person from every store: their runs, traces, feedback and texts. Sums and the audit chain stay, without
    the person; the erasure is logged. Exits with 1 when something of theirs is left for the next time."""
    from sluicegate.retention.erase import erase as erased

    if not yes:
        typer.confirm(f"Erase {person} permanently, with every run they asked for?", abort=True, err=True)
    done = asyncio.run(erased(person, by=by or getpass.getuser()))
    if as_json:
        emit(asdict(done))
    else:
        _show_erasure(done)
    if done.in_progress:
        raise typer.Exit(1)


@app.command()
def prune(as_json: AsJson = False) -> None:
    """Delete segments past retention that no open incident needs. The deletion is logged."""
    from sluicegate.observe.audit.log import open_audit
    from sluicegate.observe.incidents import Incidents

    with closing(open_audit()) as log:
        deleted = log.prune(keep_from=Incidents(audit=log).frozen_from())
    if as_json:
        emit({"deleted": deleted, "retention_days": log.settings.retention_days})
    else:
        console().print(f"{deleted} records older than {log.settings.retention_days} days deleted")


def _show_erasure(done: "Erasure") -> None:
    screen = console()

    def line(text: str) -> None:
        screen.print(text, markup=False, soft_wrap=True)

    line(f"{done.person} is erased.")
    for title, counts in (("removed", done.removed), ("kept without the person", done.renamed)):
        line(f"{title}: " + (", ".join(f"{count} {what}" for what, count in counts.items()) or "nothing"))
    if done.in_progress:
        line(f"left, since they are in progress: {', '.join(done.in_progress)}. Erase again when they have ended.")
    if done.copies:
        line(f"copies of traces are at {', '.join(done.copies)}: delete there what the user {done.traced_as} has.")
    if done.mentioned:
        line(f"the id is still mentioned in: {', '.join(done.mentioned)}")


def _about(chain: "Chain") -> str:
    return f"{chain.host}, chain {chain.id}"


def _standing() -> "list[Chain]":
    from sluicegate.observe.audit.shared.verify_all import standing

    with _shared().snapshot() as rows:
        return standing(rows)


def _shared() -> "SharedAudit":
    from sluicegate.observe.audit.shared.store import SharedAudit
    from sluicegate.storage.postgres import URL, configured

    if not (server := configured()):
        raise typer.BadParameter(f"there is one chain, in the home: machines share a server when {URL} names one")
    return SharedAudit(server)


def _home_log() -> Path:
    from sluicegate.home import home

    return home() / "audit"


def _say(verdict: "AuditVerdict") -> None:
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    if verdict.findings:
        table = Table("finding", "record", "where", "what")
        for finding in verdict.findings:
            inside = finding.chain and finding.chain not in finding.place
            where = f"{finding.place} of chain {finding.chain}" if inside else finding.place
            what = f"{finding.message}. {finding.hint}" if finding.hint else finding.message
            style = "red" if finding.tampering else "yellow"
            table.add_row(finding.kind, str(finding.seq), escape(where), escape(what), style=style)
        screen.print(table)
    if verdict.chains:
        span = f"{verdict.records} records in {verdict.chains} chains, {verdict.checkpoints} signed statements"
    else:
        span = f"{verdict.records} records ({verdict.first} to {verdict.last}), {verdict.checkpoints} checkpoints"
    screen.print(f"{span}: " + ("[bold red]tampered with[/]" if verdict.tampered else "[bold green]intact[/]"))


def _write(out: Path | None, text: str) -> None:
    if out:
        out.write_text(text, encoding="utf-8")
    else:
        write(text)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}") from None


def _lines(path: Path) -> list[Any]:
    try:
        return [json.loads(line) for _, line in json_lines(path.read_bytes().decode("utf-8"))]
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"cannot read {path}: {error}") from None
