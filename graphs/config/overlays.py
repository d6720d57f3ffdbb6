"""A workflow with another prompt, model or threshold: written as an overlay on it, in the home.

A variant is a workflow like any other, with its own digest: it is checked and proved before it runs, and a run that
was forked to it can be opened again later.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluicegate.errors import ConfigError, Problem, RunError, nearest
from sluicegate.graphs.config.load import Workflow
from sluicegate.home import home, private_folder, write_private

__all__ = ["variant"]


def variant(
    workflow: Workflow,
    *,
    prompts: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
    threshold: float | None = None,
) -> Path:
    """The file of the variant; `prompts` are texts by prompt id, `models` are ``provider:model`` by role, also of the
    workflows within it.

    Raises `ConfigError` SG112, SG114 (no such role or prompt), `RunError` SG607.
    """
    prompts, models = prompts or {}, models or {}
    known = {file.stem for folder in workflow.prompt_folders for file in folder.glob("*.md")}
    _must_be(prompts, known, "SG114", "prompt")
    _must_be(models, {role for one in workflow.family for role in one.config.models}, "SG112", "model")
    overlay: dict[str, Any] = {"workflow": workflow.name}
    if own := {role: use for role, use in models.items() if role in workflow.config.models}:
        # another model has another price; only that of local models is known (0)
        overlay["models"] = {role: {"use": use, "price_per_mtok": None} for role, use in own.items()}
    for node, child in workflow.children.items():
        roles = {role for one in child.family for role in one.config.models}
        if theirs := {role: use for role, use in models.items() if role in roles}:
            folder = variant(child, models=theirs).parent
            overlay.setdefault("nodes", {})[node] = {"use": f"../{folder.name}/workflow.yaml"}
    if threshold is not None:
        overlay["router"] = {"threshold": threshold}
    said = json.dumps([workflow.digest, overlay, dict(prompts)], sort_keys=True)
    name = hashlib.sha256(said.encode()).hexdigest()[:12]
    folder = home() / "variants" / f"{workflow.name}-{name}"
    overlay = {
        "extends": os.path.relpath(workflow.path.resolve(), folder.resolve()),
        "version": f"{workflow.version}+{name[:6]}",
        **overlay,
    }
    file = folder / "workflow.yaml"
    try:
        private_folder(folder / workflow.config.prompts)
        for prompt, text in prompts.items():
            write_private(folder / workflow.config.prompts / f"{prompt}.md", text)
        # JSON is YAML, without its traps
        write_private(file, json.dumps(overlay, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError("SG607", f"cannot write {folder}: {error.strerror}") from error
    return file


def _must_be(given: Mapping[str, str], known: set[str], code: str, what: str) -> None:
    for name in given:
        if name not in known:
            problem = Problem(
                code, f"unknown {what} {name!r}", choices=tuple(sorted(known)), suggestion=nearest(name, known)
            )
            raise ConfigError([problem])
