"""Installs the bundle that this file lies in, without a network: ``python3 install.py TARGET``.

It needs nothing but the Python that the bundle was made for. Every hash is checked before anything is installed.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

__all__ = ["main", "system"]


def system() -> str:
    """What wheels are built for: the operating system, the processor, and the C library."""
    library = platform.libc_ver()[0] or "libc"
    return f"{platform.system().lower()} {platform.machine().lower()} {library}"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        return _ended("usage: python3 install.py TARGET")
    bundle, target = Path(__file__).resolve().parent, Path(arguments[0]).resolve()
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    here = f"{sys.version_info.major}.{sys.version_info.minor}", system()
    if here != (manifest["python"], manifest["system"]):
        return _ended(
            f"this bundle is for Python {manifest['python']} on {manifest['system']}, "
            f"not for Python {here[0]} on {here[1]}"
        )
    if target.exists() and any(target.iterdir()):
        return _ended(f"{target} is not empty")
    if wrong := _changed(bundle):
        return _ended(f"not as it was made: {', '.join(wrong[:5])}")
    _install(bundle, target)
    files = [target / workflow["file"] for workflow in manifest["workflows"]]
    checked: list[dict[str, Any]] = []
    if files:
        checked = json.loads(_run([target / "bin" / "sluicegate", "check", *files, "--json"]))["workflows"]
    for workflow, file, found in zip(manifest["workflows"], files, checked, strict=True):
        if found["digest"] != workflow["digest"]:
            return _ended(f"{file} is not the version {workflow['version']} that was bundled")
    names = ", ".join(f"{each['name']} {each['version']}" for each in manifest["workflows"])
    sys.stdout.write(f"{target / 'bin' / 'sluicegate'} is installed, with {names}\n")
    if manifest["ollama"]:
        sys.stdout.write(f"An Ollama server has to bring {', '.join(manifest['ollama'])}\n")
    for index, store in manifest["stores"].items():
        sys.stdout.write(f"The index {index} is read from {store}\n")
    return 0


def _changed(bundle: Path) -> list[str]:
    """The files that are not those of the list of hashes, absent ones and further ones too."""
    lines = (bundle / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    wrong = sums.keys() ^ {each for each in found if "__pycache__" not in each}
    for name in sums.keys() & found:
        with (bundle / name).open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != sums[name]:
            wrong.add(name)
    return sorted(wrong)


def _install(bundle: Path, target: Path) -> None:
    venv.create(target / "env", with_pip=True)
    python = target / "env" / "bin" / "python"
    _run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"),
            *("--find-links", bundle / "wheels", "--require-hashes", "--requirement", bundle / "requirements.txt"),
        ]
    )
    for name, place in (("weights", target / "cache" / "models"), ("workflows", target / "workflows")):
        place.mkdir(parents=True)
        if (bundle / name).is_dir():
            shutil.copytree(bundle / name, place, dirs_exist_ok=True)
    command = target / "bin" / "sluicegate"
    command.parent.mkdir()
    command.write_text(
        "#!/bin/sh\n"
        f'export SLUICEGATE_CACHE="${{SLUICEGATE_CACHE:-{target / "cache"}}}"\n'
        f'exec "{target / "env" / "bin" / "sluicegate"}" "$@"\n',
        encoding="utf-8",
    )
    command.chmod(0o755)


def _run(command: "list[object]") -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def _ended(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
