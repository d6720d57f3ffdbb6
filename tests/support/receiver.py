"""A loopback server that speaks what Langfuse and OTLP collectors do on ingestion, and keeps what it was sent.

It answers as the documented public API does: OTLP over HTTP with protobuf and gzip, scores in the form of its version,
prompts by name and label, datasets, health. It can be told to be slow, to refuse, or to take small requests only.
"""

import base64
import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.loopback import LoopbackServer

PUBLIC, SECRET = "pk-lf-test", "sk-lf-test"


@dataclass
class ReceivedSpan:
    trace_id: str
    span_id: str
    parent: str
    name: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str
    resource: dict[str, Any]


@dataclass
class Receiver(LoopbackServer):
    version: str = "4.60.0"
    status: int = 0
    """Answer everything with this status; 0: be well."""
    held: threading.Event | None = None
    """Answer nothing before it is set."""
    limit_bytes: int = 0
    """Refuse larger bodies, unpacked, with 413."""
    spans: list[ReceivedSpan] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    prompts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    run_items: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    metrics: list[ExportMetricsServiceRequest] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        self.url = self.listen(type("Handler", (_Handler,), {"receiver": self}))
        return super().__enter__()

    def named(self, name: str) -> ReceivedSpan:
        [span] = [span for span in self.spans if span.name == name]
        return span

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        where = urlsplit(path)
        if self.held:
            self.held.wait()
        if self.status:
            return self.status, {"message": "as told"}
        if where.path == "/api/public/health":
            return 200, {"version": self.version, "status": "OK"}
        if where.path == "/v1/traces":
            return self._traces(body)
        if where.path == "/v1/metrics":
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            return 200, {}
        basic = base64.b64encode(f"{PUBLIC}:{SECRET}".encode()).decode()
        if headers.get("Authorization") != f"Basic {basic}":
            return 401, {"message": "Invalid credentials"}
        if self.limit_bytes and len(body) > self.limit_bytes:
            return 413, {"message": "too large"}
        if where.path == "/api/public/otel/v1/traces":
            # a span of the same id and start takes the place of the one before
            answer = self._traces(body)
            self.spans = list({(span.span_id, span.start_ns): span for span in self.spans}.values())
            return answer
        given = json.loads(body) if body else None
        if (method, where.path) == ("POST", "/api/public/scores"):
            return self._scores(given)
        if (method, where.path) == ("POST", "/api/public/ingestion"):
            return self._ingestion(given)
        if where.path == "/api/public/projects":
            project = {"id": "proj1", "name": "test", "organization": {"id": "o1", "name": "test"}, "metadata": {}}
            return 200, {"data": [project]}
        if where.path.startswith("/api/public/v2/prompts/"):
            name = unquote(where.path.rsplit("/", 1)[1])
            label = parse_qs(where.query).get("label", ["production"])[0]
            found = self.prompts.get((name, label))
            return (200, found) if found else (404, {"message": "Prompt not found"})
        return self._datasets(method, where.path, given)

    def _traces(self, body: bytes) -> tuple[int, Any]:
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource_spans in request.resource_spans:
            resource = {entry.key: _value(entry.value) for entry in resource_spans.resource.attributes}
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    received = ReceivedSpan(
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.name,
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        {entry.key: _value(entry.value) for entry in span.attributes},
                        span.status.message if span.status.code == 2 else "",
                        resource,
                    )
                    self.spans.append(received)
        return 200, {}

    def _scores(self, given: Any) -> tuple[int, Any]:
        """A list from 4.59 on, one object before."""
        batched = tuple(map(int, self.version.split("."))) >= (4, 59)
        if batched != isinstance(given, list):
            return 400, {"message": "Bad request"}
        self.scores += given if batched else [given]
        return (202, {"message": "Accepted"}) if batched else (200, {"id": given.get("id")})

    def _ingestion(self, given: Any) -> tuple[int, Any]:
        """Every version takes the events of SDK 4."""
        successes = []
        for event in given["batch"]:
            assert event["type"] == "score-create"
            self.scores.append(event["body"])
            successes.append({"id": event["id"], "status": 201})
        return 207, {"successes": successes, "errors": []}

    def _datasets(self, method: str, path: str, given: Any) -> tuple[int, Any]:
        now = "2026-11-23T12:00:00.000Z"
        dates = {"createdAt": now, "updatedAt": now}
        if (method, path) == ("POST", "/api/public/v2/datasets"):
            dataset = {"id": f"ds-{given['name']}", "projectId": "proj1", "metadata": None, "description": None}
            dataset |= {"inputSchema": None, "expectedOutputSchema": None} | given | dates
            self.datasets[given["name"]] = dataset
            return 200, dataset
        if method == "GET" and path.startswith("/api/public/v2/datasets/"):
            found = self.datasets.get(unquote(path.rsplit("/", 1)[1]))
            return (200, found) if found else (404, {"message": "Dataset not found"})
        if (method, path) == ("POST", "/api/public/dataset-items"):
            dataset = self.datasets[given["datasetName"]]
            item = {
                "sourceTraceId": None,
                "sourceObservationId": None,
                "metadata": None,
                "mediaReferences": [],
                **given,
            }
            item["status"] = given.get("status") or "ACTIVE"
            item |= {"datasetId": dataset["id"], "expectedOutput": given.get("expectedOutput")} | dates
            self.items = [other for other in self.items if other["id"] != item["id"]] + [item]
            return 200, item
        if (method, path) == ("GET", "/api/public/dataset-items"):
            meta = {"page": 1, "limit": 50, "totalItems": len(self.items), "totalPages": 1}
            return 200, {"data": self.items, "meta": meta}
        if (method, path) == ("POST", "/api/public/dataset-run-items"):
            self.run_items.append(given)
            run = {"id": f"item-{len(self.run_items)}", "datasetRunId": "run-1", "datasetRunName": given["runName"]}
            run |= {"datasetItemId": given["datasetItemId"], "traceId": given["traceId"], "observationId": None}
            return 200, run | dates
        return 404, {"message": f"no {method} {path}"}


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.receiver.requests.append((method, self.path, dict(self.headers)))
        status, answer = self.receiver.answer(method, self.path, self.headers, body)
        text = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except OSError:  # the client gave up
            return

    def log_message(self, format: str, *args: Any) -> None: ...


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)


def forget_clients() -> None:
    """The SDK keeps a client for each key, with the address of the server that it was made for. It also asks a server
    that fails again after seconds, which no test waits for."""
    from langfuse._client.resource_manager import LangfuseResourceManager
    from langfuse.api.core import http_client

    LangfuseResourceManager.reset()
    http_client.INITIAL_RETRY_DELAY_SECONDS = 0.01
