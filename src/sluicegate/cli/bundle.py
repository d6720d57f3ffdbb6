"""`sluicegate bundle`: an archive that installs where there is no network."""

from pathlib import Path
from typing import Annotated

import typer

from sluicegate.cli._support.console import AsJson, console, emit, notes

__all__ = ["app"]

app = typer.Typer()


@app.command()
def bundle(
    out: Annotated[Path, typer.Argument(help="The archive to write, a tar.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders with the workflows to bring along.")],
    extras: Annotated[
        list[str] | None,
        typer.Option("--extra", help="Extra of the package, such as serve (repeatable)."),
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option(help="Wheel of Sluicegate; by default what it was installed from.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an archive that installs Sluicegate, weights and workflows without a network.

    It has a wheel of every dependency, the weights and the folders of the workflows, the bill of materials (CycloneDX)
    and the hash of every file. Where there is no network: `tar -xf ARCHIVE`, then `python3 install.py TARGET` in it,
    with the same Python on the same kind of machine.
    """
    from sluicegate.bundle.archive import write_bundle
    from sluicegate.bundle.contents import own_source
    from sluicegate.files import sha256_of
    from sluicegate.serving.process.discovery import load_all

    manifest = write_bundle(out, folders, load_all(folders), extras=extras or [], source=wheel or own_source())
    digest = sha256_of(out)
    if as_json:
        emit({**manifest, "archive": str(out), "bytes": out.stat().st_size, "sha256": digest})
        return
    names = ", ".join(f"{each['name']} {each['version']}" for each in manifest["workflows"])
    console().print(f"{digest}  {out}", markup=False, soft_wrap=True, highlight=False)
    notes().print(
        f"{out.stat().st_size / 1e6:,.0f} MB for Python {manifest['python']} on {manifest['system']}: {names}",
        markup=False,
        soft_wrap=True,
    )
    if manifest["ollama"]:
        notes().print(f"Not in it: {', '.join(manifest['ollama'])}, which an Ollama server brings", markup=False)
    for index, store in manifest["stores"].items():
        notes().print(f"Not in it: the index {index}, which is read from {store}", markup=False, soft_wrap=True)
    if any(store.startswith("s3://") for store in manifest["stores"].values()) and "s3" not in manifest["extras"]:
        notes().print("An index on object storage needs the extra s3 there: bundle with --extra s3", markup=False)
