"""How many threads inference may use.

Two busy threads on two busy cores ran ten times slower than one, so the default leaves a core to everything else.
"""

import os
from pathlib import Path

__all__ = ["threads"]

MOST = 8
"""More threads than this do not speed up models of this size."""


def threads() -> int:
    """`SLUICEGATE_THREADS` when set, else the idle cores minus one, at least 1."""
    configured = os.environ.get("SLUICEGATE_THREADS", "")
    if configured.isdigit() and int(configured) > 0:
        return int(configured)
    return max(1, min(MOST, _cores() - int(_load()) - 1))


def _cores() -> int:
    """Cores this process may use, by affinity and by the container's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup v2 here
        return cores


def _load() -> float:
    """Cores in use on average over the last minute."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):  # Windows has none
        return 0.0
