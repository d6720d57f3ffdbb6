"""Build programs that tests run from their Go modules into the user's cache; what it needs is Go.

``python -m tests.support.go_build NAME …``, of `PROGRAMS`, prints their paths.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sluicegate.home import cache_dir
from sluicegate.storage.file_lock import locked_file

__all__ = ["PROGRAMS", "Program"]


@dataclass(frozen=True)
class Program:
    name: str
    package: str
    version: str

    def found(self) -> str:
        """One on this machine: of `SLUICEGATE_TEST_NAME`, on the path, or built; empty where none is."""
        named = os.environ.get(f"SLUICEGATE_TEST_{self.name.upper()}") or shutil.which(self.name)
        return named or (str(self._binary) if self._binary.is_file() else "")

    def build(self) -> Path:
        """The program, built unless it is there. Raises `SystemExit` where Go is missing or the build fails."""
        binary = self._binary
        if not shutil.which("go"):
            raise SystemExit(f"{self.name} is built with Go; or put a {self.name} on the path.")
        binary.parent.mkdir(parents=True, exist_ok=True)
        with locked_file(binary.parent / ".lock"):
            if not binary.is_file():
                named = f"{self.name} {self.version}"
                print(f"Building {named} into {binary.parent} (some minutes)", file=sys.stderr, flush=True)
                with tempfile.TemporaryDirectory(prefix=".build-", dir=binary.parent) as stage:
                    own = {"GOBIN": stage, "GOFLAGS": "", "CGO_ENABLED": "0"}
                    done = subprocess.run(
                        ["go", "install", f"{self.package}@v{self.version}"], env=os.environ | own, check=False
                    )
                    if done.returncode:
                        raise SystemExit(f"{named} could not be built")
                    Path(stage, self.name).replace(binary)
        return binary

    @property
    def _binary(self) -> Path:
        return cache_dir() / f"{self.name}-{self.version}-{platform.machine()}" / self.name


PROGRAMS = {
    program.name: program
    for program in (
        Program("helm", "helm.sh/helm/v3/cmd/helm", "3.22.0"),
        # an S3 server over a folder
        Program("versitygw", "github.com/versity/versitygw/cmd/versitygw", "1.8.0"),
    )
}


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(PROGRAMS[name].build())
