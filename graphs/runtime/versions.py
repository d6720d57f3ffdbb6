"""The versions of workflows that have run in this home: where each is, and a copy of its files.

A waiting run may outlive an edit of its workflow, or of one within it. The copy lets it finish on the version it
started with: config,
prompts (managed ones with the text they had), policies and artifacts, in the same places relative to each other; a
model's file is a link.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sluicegate.errors import ModelError, NotFoundError, RunError
from sluicegate.graphs.config.load import Workflow
from sluicegate.graphs.runtime.versions_postgres import SharedVersions
from sluicegate.home import home, private_folder, tighten, write_private
from sluicegate.policies.cedar.sources import BASE
from sluicegate.storage.postgres import configured

__all__ = ["KeptVersion", "current", "keep", "kept", "kept_here"]


def keep(workflow: Workflow, *, present: bool = True) -> None:
    """Record this version; costs one look at a folder when it is known.

    `present`: runs of this name use it from now on; False for a challenger in shadow mode. Raises `RunError`
    SG607, SG625, `ModelError` SG311 (an artifact changed since it was loaded).
    """
    folder, present = _folder(workflow.digest), present and not _of_home(workflow.path)
    _keep_here(workflow, folder, present=present)
    if server := configured():
        shared = SharedVersions(server)
        shared.put(workflow.digest, folder)
        if present:
            shared.point(workflow.name, workflow.digest)


def _keep_here(workflow: Workflow, folder: Path, *, present: bool) -> None:
    origin = {"workflow": workflow.name, "file": str(workflow.path.resolve()), "digest": workflow.digest}
    if present:  # neither an old version nor an overlay is
        _point(workflow.name, origin)
    if folder.is_dir():
        return
    family = workflow.family
    contents = {file.resolve(): content for each in family for file, content in _contents(each)}
    fitted = (artifact for each in family for artifact in each.resolved.artifacts.values() if artifact.hash)
    artifacts = {artifact.folder.resolve(): artifact for artifact in fitted}
    copied = [
        *(path for each in family for path in _policy_extras(each)),
        *(path for folder in artifacts for path in folder.rglob("*") if path.is_file()),
    ]
    named = [path.resolve() for each in family for path in _only_named(each)]
    linked = [path for each in family for path in _linked(each)]
    root = Path(os.path.commonpath([path.parent for path in (*contents, *copied, *named, *linked)]))
    staged = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        private_folder(staged.parent)
        for file in copied:
            target = staged / "files" / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        for origin_folder, artifact in artifacts.items():
            artifact.verify(staged / "files" / origin_folder.relative_to(root))
        for file, content in contents.items():
            target = staged / "files" / file.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        for path in named:
            target = staged / "files" / path.relative_to(root)
            (target if path.is_dir() else target.parent).mkdir(parents=True, exist_ok=True)
            if not path.is_dir():
                target.touch()
        for path in linked:
            target = staged / "files" / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
        start = workflow.path.resolve().relative_to(root)
        write_private(staged / "origin.json", json.dumps({**origin, "start": str(start)}))
        tighten(staged)
        staged.rename(folder)
    except ModelError:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        if not folder.is_dir():  # another process may have been faster
            raise RunError("SG607", f"cannot keep this version of {workflow.name}: {error}") from error


def kept(digest: str, *, shared: bool = False) -> Path:
    """The kept copy of a version, brought here from the server where machines share one. `shared`: others must find it
    there too, also when it was kept before this machine knew the server. Raises `RunError` SG604 when there is none,
    SG607, SG625."""
    origin = _folder(digest) / "origin.json"
    if not origin.is_file() and not _bring(digest, origin.parent):
        raise RunError(
            "SG604", f"no copy of version {digest[:12]} was kept", hint="Continue on the current version: --migrate"
        )
    if shared and (server := configured()):
        SharedVersions(server).put(digest, origin.parent)
    return origin.parent / "files" / json.loads(origin.read_text(encoding="utf-8"))["start"]


def current(name: str) -> Path:
    """The file that the workflow of this name was last opened from here, else the kept copy of what was last opened
    anywhere. Raises `RunError` SG603."""
    pointer = home() / "versions" / f"{name}.json"
    if not pointer.is_file():
        server = configured()
        if server and (digest := SharedVersions(server).present(name)):
            return kept(digest)
        raise NotFoundError(f"no workflow {name!r} has run in this home", hint="Run one: sluicegate run CONFIG TEXT")
    return Path(json.loads(pointer.read_text(encoding="utf-8"))["file"])


@dataclass(frozen=True, slots=True)
class KeptVersion:
    """A copy of a version in this home."""

    digest: str
    file: str
    """Where it was loaded from when it was first kept."""
    at: str
    """When that was, in ISO 8601 and UTC."""


def kept_here(name: str) -> list[KeptVersion]:
    """The versions of a workflow that are kept in this home, the newest first."""
    found: list[KeptVersion] = []
    for path in (home() / "versions").glob("*/origin.json"):
        origin = json.loads(path.read_text(encoding="utf-8"))
        if origin["workflow"] == name:
            at = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
            found.append(KeptVersion(origin["digest"], origin["file"], at))
    return sorted(found, key=lambda each: each.at, reverse=True)


def _bring(digest: str, folder: Path) -> bool:
    """Fetch a version that another machine has kept; whether there is one."""
    server = configured()
    if server is None:
        return False
    staged = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        private_folder(staged.parent)
        if not SharedVersions(server).get(digest, staged):
            return False
        tighten(staged)
        staged.rename(folder)
    except OSError as error:
        shutil.rmtree(staged, ignore_errors=True)
        if not folder.is_dir():  # another process may have been faster
            raise RunError("SG607", f"cannot keep version {digest[:12]} here: {error}") from error
    return True


def _folder(digest: str) -> Path:
    return home() / "versions" / digest[:16]


def _of_home(path: Path) -> bool:
    folder = home().resolve()
    return any(folder / name in path.resolve().parents for name in ("versions", "variants"))


def _point(name: str, origin: dict[str, str]) -> None:
    pointer = home() / "versions" / f"{name}.json"
    text = json.dumps(origin)
    if pointer.is_file() and pointer.read_text(encoding="utf-8") == text:
        return
    try:
        private_folder(pointer.parent)
        staged = pointer.with_suffix(f".{uuid.uuid4().hex[:8]}")
        write_private(staged, text)
        staged.replace(pointer)
    except OSError as error:
        raise RunError("SG607", f"cannot write {pointer}: {error.strerror}") from error


def _contents(workflow: Workflow) -> Iterable[tuple[Path, bytes]]:
    """Every file that the digest covers, with what was loaded from it."""
    yield from workflow.source.contents.items()
    for prompt in workflow.resolved.prompts.values():
        yield prompt.file, prompt.content
    for policy in workflow.resolved.policies:
        if policy.path and BASE not in policy.path.parents:
            yield policy.path, policy.text.encode()


def _policy_extras(workflow: Workflow) -> Iterable[Path]:
    """What lies beside the policies, such as their examples."""
    yield from (path.resolve() for path in workflow.policy_folder.glob("policies/*") if path.is_file())


def _linked(workflow: Workflow) -> Iterable[Path]:
    """Models beside the workflow, too large to copy: a copy whose model has changed is another version, and refused."""
    for name, file in workflow.resolved.model_files.items():
        if file.hash and not Path(name.partition(":")[2]).expanduser().is_absolute():
            yield file.path.parent.resolve() / file.path.name


def _only_named(workflow: Workflow) -> Iterable[Path]:
    """What the config names but a run does not read: an empty stand-in, so that the copy can be loaded."""
    config = workflow.config
    names = [name for name in config.examples.model_dump().values() if isinstance(name, str)]
    for index in config.indexes.values():
        names += [index.path] if isinstance(index.path, str) else index.path
    for name in names:
        path = workflow.find(name)
        if path.exists():
            yield path
