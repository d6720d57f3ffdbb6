"""What a server logs to standard error: as text for people, or one JSON object a line for what collects logs."""

import json
import logging
from datetime import UTC, datetime
from enum import StrEnum

__all__ = ["LogFormat", "log_to_stderr"]


class LogFormat(StrEnum):
    """The two forms; the access log's lines are JSON in both."""

    TEXT = "text"
    JSON = "json"


def log_to_stderr(form: LogFormat) -> None:
    """Log this process's own loggers, and uvicorn's warnings, in one form."""
    handler = logging.StreamHandler()
    handler.addFilter(_News())
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(_JsonLines() if form == LogFormat.JSON else text)
    for name in ("sluicegate", "uvicorn.error"):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == "sluicegate" else logging.WARNING)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        # the fields of the access log stand beside these
        fields = getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({**line, **fields}, ensure_ascii=False)


class _News(logging.Filter):
    """Passes each warning once a minute, so that a fallback model does not fill the log."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        text = record.getMessage()
        if record.created - self._said.get(text, 0.0) < 60:
            return False
        self._said = {known: at for known, at in self._said.items() if record.created - at < 60} | {
            text: record.created
        }
        return True
