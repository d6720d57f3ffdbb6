"""A command as a container's engine starts it, without one: its user, its environment, a read-only root of its own.

The root is this machine's, under an overlay in which folders of a test are mounted where the image or the compose file
has them. It needs Linux, and to be root.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sluicegate.home import cache_dir
from tests.support import ROOT

__all__ = ["Image", "contained", "possible"]

_SETUP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
root=$1/root; user=$2; shift 2
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
while [ "$1" != -- ]; do mount -t tmpfs -o mode=755 tmpfs "$root$1"; shift; done; shift
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --rbind "$1" "$root$2"; shift 2; done; shift
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot "$root" setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --bounding-set=-all -- "$@"
"""


class Image:
    """What a Containerfile says of the containers of its last stage."""

    def __init__(self, containerfile: Path) -> None:
        text = containerfile.read_text(encoding="utf-8").replace("\\\n", " ")
        self.lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        last = [line for line in self.lines if line.startswith("FROM ")][-1]
        self._stage = self.lines[self.lines.index(last) :]

    def of(self, instruction: str) -> str:
        """The argument of its last one."""
        lines = [line for line in self._stage if line.startswith(instruction + " ")]
        return lines[-1].removeprefix(instruction).strip()

    def words(self, instruction: str) -> list[str]:
        """The same, of one in the form of a list."""
        return json.loads(self.of(instruction)[self.of(instruction).index("[") :])

    def environment(self) -> dict[str, str]:
        made = {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"}
        for line in (each for each in self._stage if each.startswith("ENV ")):
            for name, value in re.findall(r"(\w+)=(\S+)", line):
                made[name] = value.replace("${PATH}", made["PATH"])
        return made


@cache
def possible() -> str:
    """Why it is not; empty when it is."""
    if sys.platform != "linux" or os.geteuid() or not all(map(shutil.which, ("unshare", "chroot", "setpriv"))):
        return "a root of its own needs Linux and to be root"
    with TemporaryDirectory() as folder:
        started = contained(Path(folder), ["true"], {})
        _, said = started.communicate(timeout=60)
    return said.strip() if started.returncode else ""


def contained(
    scratch: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    volumes: Mapping[Path, str] | None = None,
    user: str = "10001",
) -> subprocess.Popen[str]:
    """The command in a root of its own, made at `scratch`. `volumes` are mounted from here to there."""
    needed = {Path(sys.base_prefix), ROOT, Path(sys.prefix), cache_dir()}
    # what the test brings is reached by its own name only where it is mounted
    closed = {first for each in needed if (first := _closed(each))} - {_TMP}
    mounts = {**{each: str(each) for each in needed if _closed(each)}, **(volumes or {})}
    inside = [str(part) for pair in mounts.items() for part in pair]
    return subprocess.Popen(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            _SETUP,
            "sh",
            str(scratch),
            user,
            *map(str, closed),
            "--",
            *inside,
            "--",
            *command,
        ],
        env={"PATH": os.environ["PATH"], **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


_TMP = Path("/tmp")
"""Empty in there, whatever this machine has in it."""


def _closed(path: Path) -> Path | None:
    """The first folder on the way to it that others may not pass, or that is not there."""
    if path.is_relative_to(_TMP):
        return _TMP
    return next((each for each in [*reversed(path.parents), path] if not each.stat().st_mode & 0o001), None)
