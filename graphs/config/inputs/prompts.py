"""The prompts that a workflow may name: its folders' files, and the texts that Langfuse manages for them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sluicegate.errors import Place, Problem
from sluicegate.files import line_and_column, read_bounded
from sluicegate.graphs.config.inputs.resolved import ResolvedPrompt
from sluicegate.graphs.config.validate import Faults
from sluicegate.observe.prompts import Fetch, Fetched, langfuse_prompts, reference

__all__ = ["resolve_prompts"]


_MOST_OF_A_PROMPT = 1_000_000
"""Bytes."""


def resolve_prompts(folders: Sequence[Path], within: Sequence[Path], faults: Faults) -> dict[str, ResolvedPrompt]:
    """The prompts by id, those managed in Langfuse with the text that it gives now."""
    prompts: dict[str, ResolvedPrompt] = {}
    for folder in reversed(folders):
        for file in sorted(folder.glob("*.md")):
            top = Place(str(file), 1, 1)
            try:
                content = read_bounded(file, _MOST_OF_A_PROMPT, within=within)
                prompts[file.stem] = ResolvedPrompt(file, content, top)
                content.decode()
            except OSError as error:
                faults.problems.append(Problem("SG101", f"cannot read {file}: {error.strerror}", top))
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(errors="replace")
                place = replace(top, line=line_and_column(before, len(before))[0])
                faults.problems.append(Problem("SG109", "not UTF-8", place, hint="Save it as UTF-8"))
    fetch = langfuse_prompts()
    return {name: _managed(name, prompt, fetch, faults) for name, prompt in prompts.items()}


def _managed(name: str, prompt: ResolvedPrompt, fetch: Fetch | None, faults: Faults) -> ResolvedPrompt:
    named = reference(prompt.content.decode(errors="replace").replace("\r\n", "\n"))
    if named is None:
        return prompt
    place = replace(prompt.place, line=named.line)
    fetched = fetch(name, named) if fetch else Fetched(None)
    warning = ""
    if fetched.fault:
        used = fetched.version or "its file"
        warning = f"prompt {name}: {named} is unavailable in Langfuse ({fetched.fault}); using {used}"
        faults.problems.append(Problem("SG119", warning, place, severity="warning"))
    text = named.without if fetched.text is None else fetched.text
    return ResolvedPrompt(prompt.file, text.encode(), place, managed=named, version=fetched.version, warning=warning)
