"""The bill of materials of a bundle: CycloneDX 1.6, as JSON (https://cyclonedx.org/docs/1.6/json/)."""

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any
from uuid import UUID

from sluicegate.bundle.contents import Bundled
from sluicegate.files import sha256_of
from sluicegate.models.embedded.pinned import PIPELINES, WEIGHTS

__all__ = ["bill"]


def bill(wheels: Iterable[Path], weights: Mapping[str, Path], parts: Iterable[Bundled]) -> dict[str, Any]:
    """Every wheel, weight and workflow with its hash, and its licence where it names one. The same contents have the
    same bill."""
    components = [*map(_wheel, wheels), *(_weight(*each) for each in weights.items()), *map(_workflow, parts)]
    contents = hashlib.sha256(repr(components).encode()).digest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": UUID(bytes=contents[:16], version=4).urn,
        "version": 1,
        "components": components,
    }


def _wheel(path: Path) -> dict[str, Any]:
    about = _metadata(path)
    name, version = str(about["Name"]), str(about["Version"])
    return {
        "type": "library",
        "bom-ref": f"wheels/{path.name}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}",
        "hashes": _sha256(sha256_of(path)),
        **_licensed(about),
    }


def _weight(name: str, path: Path) -> dict[str, Any]:
    weight = PIPELINES.get(name) or WEIGHTS[name]
    # a pipeline is a folder: the archive's own list has the hashes of its files
    hashes = {"hashes": _sha256(sha256_of(path))} if path.is_file() else {}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights/{path.name}",
        "name": name,
        **hashes,
        "licenses": [{"license": {"name": weight.license}}],
    }


def _workflow(part: Bundled) -> dict[str, Any]:
    workflow = part.workflow
    return {
        "type": "data",
        "bom-ref": f"workflows/{part.file}",
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.config.purpose,
        # of all that can change a decision, not of a file
        "hashes": _sha256(workflow.digest),
    }


def _licensed(about: Message) -> dict[str, Any]:
    if expression := about["License-Expression"]:
        return {"licenses": [{"expression": str(expression)}]}
    named = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier", []) if "License :: " in each]
    # some have the whole text in it
    said = named or [str(about["License"] or "").strip().partition("\n")[0][:80]]
    return {"licenses": [{"license": {"name": each}} for each in said]} if said[0] else {}


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8", "replace"))


def _sha256(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]
