"""Writes a bundle: one uncompressed tar (wheels and weights are compressed already), the same for the same contents."""

import json
import os
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sluicegate.bundle import install
from sluicegate.bundle.contents import Bundled, bundled, collected_wheels, weights_for
from sluicegate.bundle.sbom import bill
from sluicegate.errors import UnwritableError
from sluicegate.files import sha256_of
from sluicegate.graphs.config.load import Workflow

__all__ = ["write_bundle"]

_LEFT_OUT = ("__pycache__", ".sluicegate", ".git", ".venv")
_README = """A bundle of Sluicegate {version}: wheels, weights, workflows. It is for Python {python} on {system}.

    python3 install.py /opt/sluicegate      needs no network; checks every hash first
    /opt/sluicegate/bin/sluicegate doctor

SHA256SUMS has the hash of every file here (sha256sum -c SHA256SUMS), sbom.cdx.json the bill of materials.
"""


def write_bundle(
    out: Path, folders: Sequence[Path], workflows: Sequence[Workflow], *, extras: Sequence[str], source: Path
) -> dict[str, Any]:
    """Write a bundle of these folders with their workflows, and of Sluicegate with `extras` from a wheel or a checkout.

    The manifest is returned. `out` is there whole or not at all. Raises what `contents` raises, `RunError` SG607 where
    it cannot be written.
    """
    parts, weights = bundled(workflows, folders), weights_for(workflows)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.resolve().parent) as staged:
            stage = Path(staged)
            wheels = collected_wheels(source, extras, stage / "wheels")
            name = f"sluicegate-bundle-{version('sluicegate')}"
            manifest = _manifest(parts, list(weights), extras)
            texts = {
                "install.py": Path(install.__file__).read_text(encoding="utf-8"),
                "manifest.json": json.dumps(manifest, indent=1) + "\n",
                "README.txt": _README.format(**manifest),
                "requirements.txt": "".join(f"{line} --hash=sha256:{sha256_of(at)}\n" for at, line in wheels.items()),
                "sbom.cdx.json": json.dumps(bill(wheels, weights, parts), indent=1) + "\n",
            }
            files: dict[str, Path] = {f"wheels/{path.name}": path for path in wheels}
            for path in weights.values():
                files |= _tree(path, f"weights/{path.name}")
                if (record := path.with_name(f"{path.name}.json")).is_file():
                    files[f"weights/{record.name}"] = record
            for folder in folders:
                files |= _tree(folder.resolve(), f"workflows/{folder.resolve().name}")
            for relative, text in texts.items():
                files[relative] = stage / relative
                files[relative].write_text(text, encoding="utf-8")
            sums = stage / "SHA256SUMS"
            sums.write_text("".join(f"{sha256_of(files[each])}  {each}\n" for each in sorted(files)), encoding="utf-8")
            files["SHA256SUMS"] = sums
            with tarfile.open(stage / "bundle", "w", format=tarfile.PAX_FORMAT) as archive:
                for relative in sorted(files):
                    archive.add(files[relative], f"{name}/{relative}", recursive=False, filter=_plain)
            (stage / "bundle").replace(out)
    except OSError as error:
        raise UnwritableError(
            f"cannot write {out}: {error.strerror}", hint="Free space, or choose another place"
        ) from error
    return manifest


def _manifest(parts: Sequence[Bundled], weights: Sequence[str], extras: Sequence[str]) -> dict[str, Any]:
    ollama = {
        model.use
        for each in parts
        for one in each.workflow.family
        for model in one.config.models.values()
        if model.provider == "ollama"
    }
    stores = {
        f"{one.name}/{name}": index.store
        for each in parts
        for one in each.workflow.family
        for name, index in one.config.indexes.items()
        if index.store
    }
    return {
        "version": version("sluicegate"),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "system": install.system(),
        "extras": sorted(extras),
        "weights": sorted(weights),
        "ollama": sorted(ollama),
        "stores": stores,
        "workflows": [
            {
                "name": each.workflow.name,
                "version": each.workflow.version,
                "digest": each.workflow.digest,
                "file": f"workflows/{each.file}",
            }
            for each in parts
        ],
    }


def _tree(path: Path, name: str) -> dict[str, Path]:
    if path.is_file():
        return {name: path}
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(path):
        folders[:] = [each for each in folders if each not in _LEFT_OUT]
        for each in files:
            file = Path(parent, each)
            if file.is_file():
                found[f"{name}/{file.relative_to(path).as_posix()}"] = file
    return found


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without what differs from one machine to the next."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
