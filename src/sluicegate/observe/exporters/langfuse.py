"""Langfuse: traces and scores over its public HTTP API; its SDK for prompts, datasets and the check of keys.

Spans go to its OTLP endpoint and scores to the endpoint that the server's version has, sent by our own exporter: the
SDK's costs more CPU, blocks in `flush` while a server is down, drops without a count, and its version 5 loses every
score on servers before 4.59. The SDK is imported only by the functions that need it, and only when keys are set.
"""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from sluicegate.observe.exporters.conventions import given_to_nodes, langfuse_attributes, langfuse_name, langfuse_run
from sluicegate.observe.exporters.export import Rejected, SendError
from sluicegate.observe.exporters.otlp import encode, post, rejected, request
from sluicegate.observe.tracing.spans import Score, Trace

if TYPE_CHECKING:
    import httpx

__all__ = ["Keys", "LangfuseSender", "ServerState", "check_keys", "sdk", "server_state", "trace_address"]

_BATCHED_SCORES = (4, 59)
"""From this server version on, scores are posted as a list, the only form that SDK 5 knows."""


@dataclass(frozen=True, slots=True)
class Keys:
    public: str
    secret: str
    host: str

    @classmethod
    def configured(cls) -> "Keys | None":
        """``LANGFUSE_PUBLIC_KEY``, ``LANGFUSE_SECRET_KEY`` and ``LANGFUSE_BASE_URL`` or ``LANGFUSE_HOST``; or None."""
        public, secret = os.environ.get("LANGFUSE_PUBLIC_KEY"), os.environ.get("LANGFUSE_SECRET_KEY")
        if not public or not secret or os.environ.get("LANGFUSE_TRACING_ENABLED", "").lower() == "false":
            return None
        host = os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or "https://cloud.langfuse.com"
        return cls(public, secret, host.rstrip("/"))

    @property
    def headers(self) -> dict[str, str]:
        basic = base64.b64encode(f"{self.public}:{self.secret}".encode()).decode()
        return {"Authorization": f"Basic {basic}"}


def trace_address(trace_id: str) -> str:
    """Where a browser finds a trace; empty where Langfuse is not configured."""
    keys = Keys.configured()
    # the server knows whose project it is in
    return f"{keys.host}/trace/{trace_id}" if keys else ""


class LangfuseSender:
    """Sends traces and scores to one project."""

    overwrites = True

    def __init__(self, keys: Keys, *, timeout_s: float = 10.0) -> None:
        self.destination = f"langfuse {keys.host}"
        self._keys = keys
        self._timeout_s = timeout_s
        self._batched: bool | None = None

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> "httpx.Client":
        import httpx

        return httpx.Client(timeout=self._timeout_s, headers=self._keys.headers)

    def send(self, traces: list[Trace]) -> Rejected | None:
        with_records = [trace for trace in traces if trace.records]
        refused = None
        if with_records:
            given = {key: before for trace in with_records for key, before in given_to_nodes(trace).items()}
            body = encode(
                with_records,
                langfuse_run,
                lambda record: langfuse_attributes(record, given.get(record.id)),
                langfuse_name,
            )
            # the header lets a server of version 4 show the spans at once
            headers = {"x-langfuse-ingestion-version": "4", "x-langfuse-public-key": self._keys.public}
            url = f"{self._keys.host}/api/public/otel/v1/traces"
            refused = rejected(post(self._client, url, body, headers, compress=True))
        scores = [(score, trace) for trace in traces for score in trace.scores]
        # JSON has no such numbers; version 0.1.0 kept them
        endless = [score.name for score, _ in scores if not score.is_finite]
        refused = self._send_scores([each for each in scores if each[0].is_finite]) or refused
        return Rejected(len(endless), f"scores: {endless[0]} is not a finite number") if endless else refused

    def _send_scores(self, scores: list[tuple[Score, Trace]]) -> Rejected | None:
        if not scores:
            return None
        bodies = [_score_body(score, trace) for score, trace in scores]
        if self._batched is None:
            found = server_state(self._keys, timeout_s=self._timeout_s)
            self._batched = found.version == () or found.version >= _BATCHED_SCORES
        try:
            return self._post_scores(bodies)
        except SendError as error:
            # the server is not of the version that it said or that was guessed
            if error.status not in (400, 404, 405):
                raise
            self._batched = not self._batched
        try:
            return self._post_scores(bodies)
        except SendError as error:
            self._batched = None
            if error.again:
                raise
            # the spans have arrived: only the scores are counted as lost
            return Rejected(len(bodies), f"scores: {error.reason}")

    def _post_scores(self, bodies: list[dict[str, Any]]) -> Rejected | None:
        if self._batched:
            response = request(self._client, "POST", f"{self._keys.host}/api/public/scores", json=bodies)
            answer = _json(response)
            errors: list[Any] = answer.get("errors") or []
            return Rejected(answer.get("rejected", len(errors)), f"scores: {errors[0]}") if errors else None
        batch = [
            {"id": body["id"], "type": "score-create", "timestamp": body["timestamp"], "body": body} for body in bodies
        ]
        url = f"{self._keys.host}/api/public/ingestion"
        errors = _json(request(self._client, "POST", url, json={"batch": batch})).get("errors") or []
        return Rejected(len(errors), f"scores: {errors[0]}") if errors else None


@dataclass(frozen=True, slots=True)
class ServerState:
    reachable: bool
    version: tuple[int, ...]
    """Empty when the server does not say."""
    reason: str = ""
    """Why it was not reached."""

    @property
    def words(self) -> str:
        return ".".join(map(str, self.version)) or "of unknown version"


def server_state(keys: Keys, *, timeout_s: float = 3.0) -> ServerState:
    """Ask a server for its version. Never raises."""
    import httpx

    try:
        with httpx.Client(timeout=timeout_s) as client:
            answer = _json(request(client, "GET", f"{keys.host}/api/public/health"))
    except SendError as error:
        return ServerState(False, (), error.reason)
    numbers = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", str(answer.get("version", "")))
    return ServerState(True, tuple(int(number) for number in numbers.groups("0")) if numbers else ())


def check_keys(keys: Keys) -> str:
    """Why a server rejects the keys; empty when it accepts them. Never raises."""
    try:
        return "" if sdk(keys).auth_check() else "the keys are refused"
    except Exception as error:
        status = getattr(error, "status_code", None)
        return f"the keys are refused ({status})" if status in (401, 403) else f"{type(error).__name__}"


def sdk(keys: Keys) -> Any:
    """The SDK's client for prompts, datasets and experiments. Spans of ours never go through it."""
    from langfuse import Langfuse

    return Langfuse(public_key=keys.public, secret_key=keys.secret, base_url=keys.host, timeout=5)


def _score_body(score: Score, trace: Trace) -> dict[str, Any]:
    value = int(score.value) if isinstance(score.value, bool) else score.value
    body: dict[str, Any] = {
        "id": score.id,
        "traceId": trace.info.trace_id,
        "name": score.name,
        "value": value,
        "dataType": score.data_type,
        "environment": trace.info.environment,
        "timestamp": datetime.fromtimestamp(score.at_ns / 1e9, UTC).isoformat().replace("+00:00", "Z"),
    }
    if score.comment:
        body["comment"] = score.comment
    if score.observation:
        body["observationId"] = score.observation
    metadata: Mapping[str, str] = {"source": score.source, **({"by": score.by} if score.by else {})}
    return body | {"metadata": metadata}


def _json(response: "httpx.Response") -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
