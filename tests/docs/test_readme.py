"""README.md: what it tells a newcomer to type works, and its trace is the one that they see."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from tests.support.pages import blocks, commands, page, run

PAGE = page("README.md")
TIME = re.compile(r"\d+(\.\d+)? (µs|ms|s)\b")


@pytest.mark.slow
def test_a_newcomers_first_commands_trace_and_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    printed = ""
    for command in commands(PAGE):
        done = run(command)
        assert done.exit_code == 0, f"{command}\n{done.output[-2000:]}\n{done.exception}"
        printed = done.output if command[1:3] == ["trace", "show"] else printed
    assert (tmp_path / "shop.svg").read_text(encoding="utf-8").startswith("<svg")

    seen = [TIME.sub("TIME", line.rstrip()) for line in printed.splitlines()]
    (trace,) = blocks(PAGE, "text")
    rest = iter(seen)
    for line in trace.splitlines():
        assert TIME.sub("TIME", line) in rest, f"{line}\n{printed}"

    (program,) = blocks(PAGE, "python")
    assert len([line for line in program.splitlines() if line]) <= 6
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(program, {})
    status, path = out.getvalue().splitlines()[0].split()
    assert (status, path) in {("answered", "rag-slm"), ("answered", "cache")}
