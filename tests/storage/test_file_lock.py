"""Processes take turns at a file, on a system with `fcntl` and on one without."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sluicegate.storage import file_lock

HOLDER = """
import os, sys
from sluicegate.storage.file_lock import try_lock, try_lock_byte
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
print(try_lock(descriptor), try_lock_byte(descriptor, 7), flush=True)
sys.stdin.read()
"""

WITHOUT_FCNTL = """
# what Windows has instead, as far as the locks ask it: byte ranges from where the file stands
import asyncio, fcntl, os, sys, types
def locking(descriptor, mode, size):
    kind = fcntl.LOCK_UN if mode == windows.LK_UNLCK else fcntl.LOCK_EX | fcntl.LOCK_NB
    real(descriptor, kind, size, os.lseek(descriptor, 0, os.SEEK_CUR))
real = fcntl.lockf
windows = types.SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
sys.modules["msvcrt"], sys.modules["fcntl"] = windows, None
for name in ("pread", "pwrite", "fdatasync"):
    delattr(os, name)
"""


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["", WITHOUT_FCNTL], ids=["fcntl", "msvcrt"])
def test_a_lock_is_one_processs_until_it_ends_however_it_ends(setting: str, tmp_path: Path) -> None:
    file = str(tmp_path / "lock")
    first = _python(setting + HOLDER, file)
    assert _line(first) == "True True"
    second = _python(setting + HOLDER, file)
    assert _line(second) == "False False"
    first.kill()
    first.communicate()
    third = _python(setting + HOLDER, file)
    assert _line(third) == "True True"
    for process in (second, third):
        process.communicate()


def test_threads_with_a_descriptor_each_take_turns(tmp_path: Path) -> None:
    with file_lock.locked_file(tmp_path / "lock"):
        other = os.open(tmp_path / "lock", os.O_RDWR)
        assert not file_lock.try_lock(other)
    assert file_lock.try_lock(other)
    os.close(other)


@pytest.mark.slow
def test_what_a_home_locks_needs_no_fcntl(tmp_path: Path) -> None:
    """The audit log, the kill switch, the served versions and the runs at work, on a system without it."""
    work = """
    from pathlib import Path
    from graphs.runtime import run_lock
    from policies.kill_switch import KillSwitch
    from sluicegate.evals.promotion.champions import history, rollback
    from sluicegate.errors import RunError
    from sluicegate.observe.audit.log import open_audit

    log = open_audit()
    print([log.append("test.event", actor="ann") for _ in range(3)], log.head[0])
    log.close()
    print(open_audit().head[0])
    KillSwitch().off("model:*", reason="test", by="ann")
    print([each.name for each in KillSwitch().entries()])
    try:
        rollback("w", by="ann", reason="none to go back to")
    except RunError as error:
        print(error.code, history("w"))
    state = {"run": {"id": "r1"}}
    async def twice():
        async with run_lock.hold(Path(sys.argv[1]), state):
            try:
                async with run_lock.hold(Path(sys.argv[1]), state):
                    pass
            except run_lock.RunBusy:
                print("busy")
    asyncio.run(twice())
    """
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FCNTL + textwrap.dedent(work), str(tmp_path)],
        env={**os.environ, "SLUICEGATE_HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:3] == ["[1, 2, 3] 3", "3", "['model:*']"]
    assert done.stdout.splitlines()[-1] == "busy"
