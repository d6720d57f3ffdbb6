"""Arguments that the router commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Artifact", "Data"]

Artifact = Annotated[Path, typer.Argument(help="Folder of the router artifact.")]
Data = Annotated[list[Path], typer.Option(help="Labelled rows (JSON Lines or CSV, optionally gzipped).")]
