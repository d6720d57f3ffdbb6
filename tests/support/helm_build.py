"""Build Helm from its Go module into the user's cache: ``python -m tests.support.helm_build``. What it needs is Go."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sluicegate.home import cache_dir
from sluicegate.storage.file_lock import locked_file

__all__ = ["VERSION", "build", "found"]

VERSION = "3.22.0"


def found() -> str:
    """One on this machine: `SLUICEGATE_TEST_HELM`, one on the path, or one that was built; empty where none is."""
    named = os.environ.get("SLUICEGATE_TEST_HELM") or shutil.which("helm")
    return named or (str(_binary()) if _binary().is_file() else "")


def build() -> Path:
    """Helm, built unless it is there. Raises `SystemExit` where Go is missing or the build fails."""
    binary = _binary()
    if not shutil.which("go"):
        raise SystemExit("Helm is built with Go; or put a helm on the path.")
    binary.parent.mkdir(parents=True, exist_ok=True)
    with locked_file(binary.parent / ".lock"):
        if not binary.is_file():
            print(f"Building Helm {VERSION} into {binary.parent} (some minutes)", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix=".build-", dir=binary.parent) as stage:
                own = {"GOBIN": stage, "GOFLAGS": "", "CGO_ENABLED": "0"}
                done = subprocess.run(
                    ["go", "install", f"helm.sh/helm/v3/cmd/helm@v{VERSION}"], env=os.environ | own, check=False
                )
                if done.returncode:
                    raise SystemExit("Helm could not be built")
                Path(stage, "helm").replace(binary)
    return binary


def _binary() -> Path:
    return cache_dir() / f"helm-{VERSION}-{platform.machine()}" / "helm"


if __name__ == "__main__":
    print(build())
