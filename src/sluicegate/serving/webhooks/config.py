"""The file of webhooks: which events go where, in which shape, and how they are signed."""

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from sluicegate.errors import ConfigError
from sluicegate.files import read_bounded
from sluicegate.graphs.config.source import Pointer, read
from sluicegate.graphs.config.validate import Faults, validated
from sluicegate.serving.webhooks.events import EVENTS, EventType
from sluicegate.serving.webhooks.signing import key_of
from sluicegate.state import Clearance

__all__ = [
    "Destination",
    "DestinationConfig",
    "Webhooks",
    "WebhooksFile",
    "file_schema",
    "is_loopback",
    "read_webhooks",
]

_NAME = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
_SECRET_BYTES = 4096


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class SecretSource(_Strict):
    """Something that is not written in the file: exactly one of the two."""

    env: str = ""
    """A variable of the environment."""
    file: str = ""
    """A file, relative to this one."""


class LinkPerson(_Strict):
    """Who may decide by the link that comes along."""

    id: str = Field(min_length=1)
    roles: list[str] = []
    groups: list[str] = []
    clearance: Clearance = "internal"


class LinkConfig(_Strict):
    """A signed link for one person, in events of waiting runs on which they may decide."""

    for_: LinkPerson = Field(alias="for")
    """The person. Whoever reads the destination can decide as this person: name one only where they alone read it."""
    hours: float = Field(default=24, gt=0, le=720)
    """How long it may be used."""


class DestinationConfig(_Strict):
    """One receiver."""

    url: str | SecretSource
    """Its address: https, or http on the loopback address. With `env` or `file` where the address itself is secret."""
    secret: SecretSource | None = None
    """What its messages are signed with: `whsec_` and 24 to 64 bytes in base64. Required for the shape `json`."""
    previous_secret: SecretSource | None = None
    """During a rotation: messages are signed with this one too."""
    events: list[EventType] = Field(default=list(EVENTS), min_length=1)
    """Which events; by default all."""
    workflows: list[str] = []
    """Only those of these workflows; by default of all that are served."""
    shape: Literal["json", "slack", "teams"] = "json"
    """`json`: as `sluicegate webhooks schema --events` describes; `slack`: blocks; `teams`: an adaptive card."""
    link: LinkConfig | None = None
    """Whether an approval link comes along, and for whom; by default none."""
    texts: Literal["none", "masked"] = "none"
    """`masked`: requests, drafts and reasons come along, masked as the workflow's traces are."""
    people: bool = False
    """Requesters and deciders are named."""
    private: bool = False
    """The address may be one of a private network."""


class WebhooksFile(_Strict):
    """Where events are sent."""

    base_url: str = ""
    """How people reach this server, such as `https://approvals.example.com`; needed for links."""
    destinations: dict[str, DestinationConfig] = Field(min_length=1)
    """By name."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A receiver whose address and secrets are known."""

    name: str
    config: DestinationConfig
    url: str
    keys: Sequence[bytes]

    def wants(self, kind: str, workflow: str) -> bool:
        wanted = self.config.workflows
        return kind in self.config.events and (not wanted or workflow in wanted)


@dataclass(frozen=True, slots=True)
class Webhooks:
    base_url: str
    destinations: Mapping[str, Destination]


def read_webhooks(path: Path, *, served: Sequence[str] = ()) -> Webhooks:
    """A file of webhooks, checked, for a server of these workflows; without any, whatever it names is right.

    Raises `ConfigError` with every problem at its place, also for a secret that is missing.
    """
    source = read(path)
    faults = Faults(source)
    found: WebhooksFile | None = None
    if not source.problems:
        found = validated(WebhooksFile, source.data, (), faults)
    problems = [*source.problems, *faults.problems]
    if found is None:
        raise ConfigError(problems)
    made = {name: _destination(name, each, path, found, faults, served) for name, each in found.destinations.items()}
    if faults.problems:
        raise ConfigError(faults.problems)
    return Webhooks(found.base_url.rstrip("/"), made)


def _destination(
    name: str, config: DestinationConfig, path: Path, file: WebhooksFile, faults: Faults, served: Sequence[str]
) -> Destination:
    at: Pointer = ("destinations", name)
    if not name.isidentifier() and not name.replace("-", "_").replace(".", "_").isidentifier():
        faults.add("SG107", f"{name!r} is no name: letters, digits, `_`, `-` and `.`", at, of_key=True)
    url = config.url if isinstance(config.url, str) else _secret_of(config.url, path, faults, (*at, "url"))
    if url and (wrong := _wrong_address(url)):
        # an address from elsewhere may be a secret
        shown = f" {url!r}" if isinstance(config.url, str) else ""
        faults.add("SG107", f"the address{shown} {wrong}", (*at, "url"))
    keys = list[bytes]()
    for key in ("secret", "previous_secret"):
        if kept := getattr(config, key):
            text = _secret_of(kept, path, faults, (*at, key))
            try:
                keys += [key_of(text)] if text else []
            except ValueError as error:
                hint = "Make one: sluicegate webhooks secret"
                faults.add("SG107", f"the secret is {error}", (*at, key), hint=hint)
    if config.shape == "json" and config.secret is None:
        hint = "Make one: sluicegate webhooks secret"
        faults.add("SG106", "a destination of the shape json needs a secret", at, of_key=True, hint=hint)
    if config.link and not file.base_url:
        faults.add("SG106", "a link needs base_url, how people reach this server", (*at, "link"), of_key=True)
    if config.link and "approval.waiting" not in config.events:
        faults.add("SG107", "a link comes only with approval.waiting, which is not sent here", (*at, "link"))
    for number, workflow in enumerate(config.workflows if served else ()):
        if workflow not in served:
            what = f"no workflow {workflow!r} is served"
            faults.add("SG107", what, (*at, "workflows", number), choices=served, word=workflow)
    return Destination(name, config, url, keys)


def _secret_of(kept: SecretSource, path: Path, faults: Faults, at: Pointer) -> str:
    """What a variable or a file holds; empty after its problem was noted."""
    if bool(kept.env) == bool(kept.file):
        faults.add("SG107", "exactly one of env and file is needed", at)
        return ""
    if kept.env:
        if not (text := os.environ.get(kept.env, "").strip()):
            faults.add("SG107", f"the variable {kept.env} is not set", (*at, "env"))
        return text
    file = path.parent / kept.file
    try:
        text = read_bounded(file, _SECRET_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        faults.add("SG107", f"cannot read {file}: {why}", (*at, "file"))
        return ""
    if not text:
        faults.add("SG107", f"{file} is empty", (*at, "file"))
    return text


def _wrong_address(url: str) -> str:
    """What is wrong with the address of a receiver; empty when nothing is."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no address"
    if not host or port == 0 or any(not each.isprintable() or each == " " for each in url):
        return "is no address"
    if parts.username or parts.password:
        return "has a user or a password in it"
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        return "is neither https nor http on the loopback address"
    return ""


def is_loopback(host: str) -> bool:
    """Whether it is written as an address of this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def file_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of the file."""
    return WebhooksFile.model_json_schema(by_alias=True)
