"""What a bundle consists of: the wheels of this installation, weights, and the folders of workflows."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, distributions
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sluicegate.errors import RunError
from sluicegate.graphs.config.load import Workflow
from sluicegate.models.config import LOCAL_PROVIDERS, resolve
from sluicegate.models.embedded import weights
from sluicegate.models.embedded.wheels import pip_command

__all__ = ["Bundled", "bundled", "collected_wheels", "local_models", "own_source", "weights_for"]

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Bundled:
    """A workflow of a bundle."""

    workflow: Workflow
    file: str
    """Where its file is, below ``workflows/``."""


def local_models(workflow: Workflow) -> list[str]:
    """The models that have to be here before it runs, as `sluicegate models pull` names them."""
    models, names = dict(workflow.config.models), workflow.config.guards.pii.model
    used = [(model, settings) for role in models for model, settings in resolve(models, role)]
    pipelines = [f"spacy:{names}"] if names in weights.PIPELINES else []
    return [model for model, settings in used if settings.provider in LOCAL_PROVIDERS] + pipelines


def bundled(workflows: Sequence[Workflow], folders: Sequence[Path]) -> list[Bundled]:
    """The workflows of these folders, with where they are in a bundle.

    Raises `RunError` SG680 for one that needs what lies outside of the folders.
    """
    places = {folder.resolve(): folder.resolve().name for folder in folders}
    found: list[Bundled] = []
    for workflow in workflows:
        for each in sorted({each for one in workflow.family for each in one.folders}):
            if not any(each.resolve().is_relative_to(place) for place in (*places, _PACKAGE)):
                raise RunError(
                    "SG680",
                    f"{workflow.name} needs {each}, which is outside of the bundled folders",
                    hint="Give a folder that has both",
                )
        file = workflow.path.resolve()
        place = next(each for each in places if file.is_relative_to(each))
        found.append(Bundled(workflow, (Path(places[place]) / file.relative_to(place)).as_posix()))
    return found


def weights_for(workflows: Iterable[Workflow]) -> dict[str, Path]:
    """The weights that workflows need, checked, by the names of their models.

    A model file that a workflow names by its path is not one of them: it lies in the workflow's folder, or is refused
    as what lies outside. Raises `ModelError` SG306 where one is not in the cache, SG307 where it was changed.
    """
    models = dict.fromkeys(model for each in workflows for one in each.family for model in local_models(one))
    pinned = (model.partition(":")[2] for model in models if model.startswith(("embedded:", "spacy:")))
    names = {name.removesuffix(weights.LAYERS) for name in pinned if not name.endswith(".gguf")}
    return {name: weights.located(name) for name in sorted(names)}


def own_source() -> Path:
    """The wheel or the checkout that Sluicegate was installed from. Raises `RunError` SG680 when it is not there."""
    told = distribution("sluicegate").read_text("direct_url.json")
    url: str = json.loads(told)["url"] if told else ""
    source = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
    if source is None or not source.exists():
        raise RunError(
            "SG680",
            "the wheel that Sluicegate was installed from is not here",
            hint="Name it: --wheel dist/sluicegate-….whl",
        )
    return source


def collected_wheels(source: Path, extras: Sequence[str], into: Path) -> dict[Path, str]:
    """A wheel of every distribution that Sluicegate with `extras` needs, each with its line of a requirements file.

    What is installed here has the version that it has here. pip resolves and fetches, from the index that it is
    configured for.

    Raises `RunError` SG680 with pip's words.
    """
    pins = into / "installed.txt"
    into.mkdir(parents=True)
    pins.write_text("".join(f"{name}=={version}\n" for name, version in _installed().items()), encoding="utf-8")
    wanted = f"{source.resolve()}[{','.join(extras)}]" if extras else str(source.resolve())
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "--constraint", str(pins)]
    done = subprocess.run(  # noqa: S603 - our own command line
        [*pip_command(), "wheel", *options, "--wheel-dir", str(into), wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    pins.unlink()
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["it gave no message"]
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise RunError(
            "SG680",
            f"pip could not collect the wheels: {why}",
            hint="Check the network and pip's index (`pip config list`)",
        )
    return {path: _requirement(path) for path in sorted(into.glob("*.whl"))}


def _installed() -> Mapping[str, str]:
    return {each.name: each.version for each in distributions() if each.name.lower() != "sluicegate"}


def _requirement(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version}"
