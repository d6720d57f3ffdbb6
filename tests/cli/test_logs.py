"""What a server logs, in both forms."""

import json
import logging
from collections.abc import Iterator

import pytest

from sluicegate.cli._support.logs import LogFormat, log_to_stderr


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    logs = [logging.getLogger(name) for name in ("sluicegate", "uvicorn.error")]
    before = [(log, log.handlers, log.propagate, log.level) for log in logs]
    yield
    for log, handlers, propagate, level in before:
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def logged(form: LogFormat, capsys: pytest.CaptureFixture[str]) -> list[str]:
    log_to_stderr(form)
    logging.getLogger("sluicegate.access").info('{"status": 200}', extra={"fields": {"status": 200}})
    log = logging.getLogger("sluicegate.serving")
    for _ in range(3):
        log.warning("%s is away\nfor now", "the model")
    try:
        int("no")
    except ValueError:
        log.exception("it broke")
    return capsys.readouterr().err.splitlines()


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    access, warning, error = map(json.loads, logged(LogFormat.JSON, capsys))
    assert (access["logger"], access["level"], access["status"]) == ("sluicegate.access", "info", 200)
    assert "message" not in access
    assert (warning["level"], warning["message"]) == ("warning", "the model is away\nfor now")
    assert (error["level"], error["message"]) == ("error", "it broke")
    assert error["exception"].startswith("Traceback")
    assert error["exception"].endswith("literal for int() with base 10: 'no'")
    assert all(each["time"].endswith("+00:00") for each in (access, warning, error))


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    access, warning, *_ = logged(LogFormat.TEXT, capsys)
    assert access.endswith(' INFO sluicegate.access {"status": 200}')
    assert warning.endswith(" WARNING sluicegate.serving the model is away")
