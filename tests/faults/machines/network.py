"""A network of this process's own, with a cable to each machine that can be pulled.

The process leaves the network and the mounts that it was started in, so nothing of this can touch them, and all of it
goes away with its last process. It needs Linux, and to be root.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["BRIDGE", "DESK", "Cable", "enter", "isolate", "possible"]

BRIDGE = "10.213.0.1"
"""Where the database and the outside desk are, seen from every machine."""
DESK = "10.213.0.2"
"""Another address of the same place, which `Cable.cut_from_database` leaves alone."""
_NET, _MOUNTS = 0x40000000, 0x00020000
_NOBODY = "02:00:00:00:00:99"


def possible() -> str:
    """Why it is not; empty when it is."""
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        return "a network of its own needs Linux, iproute2, and to be root"
    made = "ip link add name bridge type bridge && ip link add name end type veth peer name wire"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", made], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip() if tried.returncode else ""


def isolate() -> None:
    """Take this process, and whatever it starts from now on, to a network and mounts of their own."""
    _call("unshare", _NET | _MOUNTS)
    _run("mount", "--make-rprivate", "/")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "bridge", "type", "bridge")
    for address in (BRIDGE, DESK):
        _run("ip", "address", "add", f"{address}/24", "dev", "bridge")
    _run("ip", "link", "set", "bridge", "up")


class Cable:
    """The network of one machine, which outlives its processes."""

    def __init__(self, number: int) -> None:
        self.address = f"10.213.0.{10 + number}"
        self._end = f"machine{number}"
        # a network lives as long as somebody is in it
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sleep", "infinity"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while Path(self.path).readlink() == Path("/proc/self/ns/net").readlink():
            os.sched_yield()
        _run("ip", "link", "add", self._end, "type", "veth", "peer", "name", "wire", "netns", str(self._holder.pid))
        _run("ip", "link", "set", self._end, "master", "bridge", "up")
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "address", "add", f"{self.address}/24", "dev", "wire")
        self._inside("ip", "link", "set", "wire", "up")

    @property
    def path(self) -> str:
        """Names the network to `enter`."""
        return f"/proc/{self._holder.pid}/ns/net"

    def cut(self) -> None:
        """Nothing goes in or out, and nobody is told."""
        _run("ip", "link", "set", self._end, "down")

    def cut_from_database(self) -> None:
        """What it sends to the database gets lost; the desk, and those who ask it, are still there."""
        self._inside("ip", "neigh", "replace", BRIDGE, "lladdr", _NOBODY, "dev", "wire", "nud", "permanent")

    def mend(self) -> None:
        self._inside("ip", "neigh", "flush", "dev", "wire", "nud", "permanent")
        _run("ip", "link", "set", self._end, "up")

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()

    def _inside(self, *words: str) -> None:
        _run("nsenter", f"--net={self.path}", *words)


def enter(path: str) -> None:
    """Take this thread, which should be the only one, to a machine's network."""
    handle = os.open(path, os.O_RDONLY)
    try:
        _call("setns", handle, _NET)
    finally:
        os.close(handle)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def _call(name: str, *given: int) -> None:
    """A call of the C library that Python has from 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*given):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
