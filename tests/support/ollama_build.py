"""Build a real Ollama server from its Go module into the user's cache: ``python -m tests.support.ollama_build``.

What it needs is Go and a C++ compiler. Every module comes from Go's proxy and is checked by Go's checksum database. Go
leaves folders called ``vendor`` out of a module, and with them three C headers that the server needs: they are copied
from modules that carry them under another name, an earlier release of Ollama and a binding of miniaudio.

It is compiled for this machine's processor, since without vector instructions a prompt takes minutes.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sluicegate.home import cache_dir
from sluicegate.storage.file_lock import locked_file

__all__ = ["VERSION", "build"]

VERSION = "0.24.0"
"""The last that can be built from Go's modules alone: from 0.30 on it fetches llama.cpp while it builds."""

EARLIER = "github.com/ollama/ollama@v0.9.0"
MINIAUDIO = "github.com/gen2brain/malgo@v0.11.24"


def build() -> Path:
    """The server, built unless it is there. Raises `SystemExit` where something is missing or the build fails."""
    folder = cache_dir() / f"ollama-{VERSION}-{_processor()}"
    binary = folder / "ollama"
    if not (shutil.which("go") and (shutil.which("c++") or shutil.which("clang++"))):
        raise SystemExit("A real Ollama server is built with Go and a C++ compiler; or set OLLAMA_HOST to yours.")
    folder.mkdir(parents=True, exist_ok=True)
    with locked_file(folder / ".lock"):
        if not binary.is_file():
            print(f"Building Ollama {VERSION} into {folder} (some minutes)", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as stage:
                _compile(Path(stage)).replace(binary)
    return binary


def _compile(stage: Path) -> Path:
    headers = _module(EARLIER, stage) / "llama" / "llama.cpp" / "common"
    for source, name in (
        (headers / "json.hpp", "nlohmann/json.hpp"),
        (headers / "stb_image.h", "stb/stb_image.h"),
        (_module(MINIAUDIO, stage) / "miniaudio.h", "miniaudio/miniaudio.h"),
    ):
        (stage / name).parent.mkdir()
        shutil.copyfile(source, stage / name)
    (stage / "nlohmann/json_fwd.hpp").write_text('#include "json.hpp"\n', encoding="utf-8")
    flags = f"-O2 -march=native -I{stage}"
    own = {"CGO_ENABLED": "1", "CGO_CFLAGS": flags, "CGO_CXXFLAGS": flags, "GOBIN": str(stage), "GOFLAGS": ""}
    _go(["install", f"github.com/ollama/ollama@v{VERSION}"], stage, own)
    return stage / "ollama"


def _module(path: str, stage: Path) -> Path:
    return Path(json.loads(_go(["mod", "download", "-json", path], stage, {}))["Dir"])


def _go(arguments: list[str], stage: Path, own: dict[str, str]) -> str:
    done = subprocess.run(
        ["go", *arguments],
        cwd=stage,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"go {' '.join(arguments)} failed:\n{done.stdout}")
    return done.stdout


def _processor() -> str:
    """A short name of what the processor can do: a cache may be carried to another machine."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else [platform.processor()]
    known = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    return hashlib.sha256(known.encode()).hexdigest()[:8]


if __name__ == "__main__":
    print(build())
