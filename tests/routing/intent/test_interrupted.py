"""A fit that is stopped, politely or not, goes on where it was and ends with the same artifact."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.home import home
from tests.support.made_rows import jsonl, rows
from tests.support.waiting import until

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


def begun(data: Path, out: Path) -> subprocess.Popen[str]:
    # what a shell starts in the background ignores SIGINT, and all that it starts does, too
    signal.signal(signal.SIGINT, signal.default_int_handler)
    command = [sys.executable, "-m", "sluicegate", "router", "fit", str(data), "--embedder", "none", "--json"]
    return subprocess.Popen(
        [*command, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SLUICEGATE_HOME": str(home())},
    )


def pieces(out: Path) -> dict[str, int]:
    """Finished pieces by name, with the time each was written."""
    return {
        path.name: path.stat().st_mtime_ns for path in (out.parent / f".{out.name}.fitting").glob("?" * 32 + ".npz")
    }


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_fit_goes_on_where_it_was(written: Write, tmp_path: Path, stop: signal.Signals) -> None:
    out = tmp_path / "router"
    for size in (6_000, 24_000):
        data = written(jsonl(rows(size, 0)))
        fit = begun(data, out)
        until(lambda fit=fit: len(pieces(out)) >= 2 or fit.poll() is not None)
        fit.send_signal(stop)
        _, told = fit.communicate(timeout=60)
        if fit.returncode:
            break
        # it was faster than its watcher
        shutil.rmtree(out)
    assert fit.returncode == (130 if stop is signal.SIGINT else -signal.SIGKILL), told
    assert not out.exists()
    done = pieces(out)
    assert 2 <= len(done) < 8

    again = begun(data, out)
    kept: dict[str, int] = {}
    while again.poll() is None:
        kept = pieces(out) or kept
        time.sleep(0.005)
    said, told = again.communicate()
    assert again.returncode == 0, told
    # what was done is read, not made again
    assert {name: kept[name] for name in done} == done
    whole = begun(data, tmp_path / "whole")
    assert json.loads(said)["hash"] == json.loads(whole.communicate(timeout=120)[0])["hash"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "home") == ["router", "rows.jsonl", "whole"]
