"""Everything beside the config that can change a decision, read once by `load`.

The checks and proofs are made on it, the digest covers it, and opening a workflow takes texts and tools from here
instead of reading files a second time: what runs is what was proved.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sluicegate.errors import ModelError, Place, WeightsMismatchError
from sluicegate.files import read_bounded, unchanged_sha256
from sluicegate.learning.artifact import CARD, cards_in
from sluicegate.nodes.tools.tool import Tool
from sluicegate.observe.prompts import Fetch, Reference
from sluicegate.policies.cedar.sources import PolicyFile

__all__ = ["Input", "Resolved", "ResolvedArtifact", "ResolvedModelFile", "ResolvedPrompt"]

_MOST_OF_A_CARD = 50_000_000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class ResolvedPrompt:
    """The text of one prompt, wherever it came from."""

    file: Path
    content: bytes
    """UTF-8. It names no managed prompt any more, so a copy of it is this text wherever it is loaded."""
    place: Place
    """Where the workflow's files name it: the ``langfuse:`` line of a managed one, else the start of its file."""
    managed: Reference | None = None
    """Which prompt of Langfuse it is, also when its file stands in."""
    version: str = ""
    """``langfuse:NAME@VERSION`` when Langfuse gave the text; empty when the file did."""
    warning: str = ""
    """Which text replaces the one that Langfuse could not give."""

    @property
    def text(self) -> str:
        return self.content.decode().replace("\r\n", "\n").replace("\r", "\n")

    @property
    def hash(self) -> str:
        return _sha256(self.content)


@dataclass(frozen=True, slots=True)
class ResolvedArtifact:
    """A fitted router, or the confidences fitted to several models: a card holds the hashes of its other files."""

    folder: Path
    hash: str | None
    """SHA-256 of the card, or of the cards of all artifacts in the folder; None when nothing was fitted yet."""

    @classmethod
    def read(cls, folder: Path, *, within: Iterable[Path] = ()) -> "ResolvedArtifact":
        """Raises `OSError` as `read_bounded` does, but for a card that is not there."""
        cards = cards_in(folder) or [folder / CARD]
        try:
            hashes = [_sha256(read_bounded(card, _MOST_OF_A_CARD, within=within)) for card in cards]
        except (FileNotFoundError, NotADirectoryError):
            return cls(folder, None)
        if cards == [folder / CARD]:
            return cls(folder, hashes[0])
        named = [[card.parent.name, each] for card, each in zip(cards, hashes, strict=True)]
        return cls(folder, _sha256(json.dumps(named).encode()))

    def verify(self, folder: Path) -> None:
        """Raises `ModelError` SG311 when `folder` holds another artifact than the one that was loaded."""
        if ResolvedArtifact.read(folder).hash != self.hash:
            raise ModelError(
                "SG311",
                f"the artifact {folder} changed after its workflow was loaded",
                hint="Load the workflow again to check and run it with this artifact",
            )


@dataclass(frozen=True, slots=True)
class ResolvedModelFile:
    """The GGUF file of an embedded model."""

    path: Path
    hash: str | None
    """SHA-256; None while there is none, and the role's next model answers."""

    @classmethod
    def read(cls, path: Path) -> "ResolvedModelFile":
        """Raises `OSError` for a file that cannot be read."""
        try:
            return cls(path, unchanged_sha256(path))
        except (FileNotFoundError, NotADirectoryError):
            return cls(path, None)

    def verify(self) -> None:
        """Raises `ModelError` SG307 when it is another file than the one that was loaded."""
        if ResolvedModelFile.read(self.path).hash != self.hash:
            raise WeightsMismatchError(
                f"{self.path} changed after its workflow was loaded",
                hint="Load the workflow again to check and run it with this model",
            )


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a workflow, for people and for comparing versions."""

    kind: str
    """``prompt``, ``policy``, ``schema``, ``artifact``, ``tool``, ``package`` or ``model``."""
    name: str
    hash: str | None
    """SHA-256; None for an artifact that is not fitted yet, and for a model's file that is absent."""
    source: str
    managed: bool = False
    """Whether it changes without an edit of a file."""


@dataclass(frozen=True, slots=True)
class Resolved:
    prompts: Mapping[str, ResolvedPrompt]
    policies: tuple[PolicyFile, ...]
    schema: str
    """Cedar's, which the policies were checked against."""
    artifacts: Mapping[str, ResolvedArtifact]
    """By the name that the config gives, the router's first."""
    tools: Mapping[str, Tool]
    """What is installed, and the tools of the MCP servers that the config names."""
    packages: Mapping[str, str]
    """``NAME VERSION`` of the installed package by the node kind, tool or guard that the workflow uses from it, such as
    ``tool roll_dice``, and by the engine of a guard. The built-in ones are not here."""
    model_files: Mapping[str, ResolvedModelFile] = field(default_factory=dict[str, ResolvedModelFile])
    """By the name that the config gives, as ``embedded:PATH.gguf``."""

    @property
    def inputs(self) -> Iterator[Input]:
        for name, prompt in sorted(self.prompts.items()):
            yield Input("prompt", name, prompt.hash, prompt.version or prompt.file.name, prompt.managed is not None)
        for file in self.policies:
            yield Input("policy", file.name, _sha256(file.text.encode()), file.name)
        yield Input("schema", "cedar", _sha256(self.schema.encode()), "built-in")
        for name, artifact in self.artifacts.items():
            yield Input("artifact", name, artifact.hash, name)
        for name, contract in self.served.items():
            yield Input("tool", name, _sha256(json.dumps(contract, sort_keys=True).encode()), "MCP server")
        for name, package in sorted(self.packages.items()):
            yield Input("package", name, _sha256(package.encode()), package)
        for name, file in sorted(self.model_files.items()):
            yield Input("model", name, file.hash, file.path.name)

    @property
    def served(self) -> dict[str, object]:
        """The contract of each tool of an MCP server: what it takes, whether it has effects, and what policies may ask.

        Where the server runs is the operator's affair and differs between machines.
        """
        return {
            name: {
                "arguments": tool.arguments.model_json_schema(),
                "effects": tool.effects,
                **({"hints": dict(tool.hints)} if tool.hints else {}),
            }
            for name, tool in sorted(self.tools.items())
            if name.startswith("mcp.")
        }

    def outdated(self, fetch: Fetch | None) -> bool:
        """Whether Langfuse has another text of a managed prompt now; False while it cannot say."""
        for name, prompt in self.prompts.items():
            if fetch is None or prompt.managed is None:
                continue
            fetched = fetch(name, prompt.managed)
            if not fetched.fault and fetched.text is not None and fetched.text.encode() != prompt.content:
                return True
        return False

    def artifact(self, name: str) -> Path:
        """Its folder. Opening checks afterwards, with `verify_artifacts`, that it still is what was loaded."""
        return self.artifacts[name].folder

    def verify_artifacts(self) -> None:
        """Raises `ModelError` SG311, or SG307 for a model's file, when one changed since it was loaded."""
        for artifact in self.artifacts.values():
            artifact.verify(artifact.folder)
        for file in self.model_files.values():
            file.verify()

    def packed(self) -> dict[str, object]:
        """What the digest covers of it; keys that would be empty are left out."""
        content: dict[str, object] = {
            "prompts": {name: prompt.hash for name, prompt in self.prompts.items()},
            "policies": [self.schema, *(f"{file.name}\n{file.text}" for file in self.policies)],
        }
        if self.served:
            content["tools"] = self.served
        if self.packages:
            content["packages"] = dict(self.packages)
        if self.model_files:
            content["models"] = {name: file.hash for name, file in self.model_files.items()}
        return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
