"""OTLP over HTTP with protobuf: how traces are encoded, and the exporter for any collector.

The standard variables configure it: ``OTEL_EXPORTER_OTLP_ENDPOINT`` and its ``TRACES`` and ``METRICS`` forms,
``…_HEADERS``, ``…_TIMEOUT`` (seconds, as OpenTelemetry for Python reads it), ``…_COMPRESSION``, ``…_CERTIFICATE``,
``…_CLIENT_KEY``, ``…_CLIENT_CERTIFICATE``, ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``. Spans are encoded
here rather than made with OpenTelemetry's SDK: its exporter hides why a server refused, and so whether to split, to
wait or to give up.
"""

import gzip
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import version
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from sluicegate.observe.exporters.conventions import Named, otel_attributes, otel_run
from sluicegate.observe.exporters.export import Rejected, SendError
from sluicegate.observe.tracing.spans import Record, RunInfo, Trace

if TYPE_CHECKING:
    import httpx

__all__ = [
    "OtlpEndpoint",
    "OtlpSender",
    "as_json",
    "encode",
    "fill",
    "post",
    "rejected",
    "request",
    "resource_attributes",
]


class OtlpEndpoint:
    """Where one kind of signal goes: an endpoint by its full URL, and how it is called."""

    def __init__(
        self,
        endpoint: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        compress: bool = False,
        certificate: str | None = None,
        client_certificate: tuple[str, str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._compress = compress
        self._certificate = certificate
        self._client_certificate = client_certificate

    @classmethod
    def configured(cls, signal: Literal["TRACES", "METRICS"]) -> "OtlpEndpoint | None":
        """As the environment says; None when it names no collector for the signal."""
        if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return None
        if "otlp" not in (os.environ.get(f"OTEL_{signal}_EXPORTER") or "otlp").split(","):
            return None

        def setting(name: str) -> str:
            general = os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
            return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_{name}") or general or ""

        base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
        own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        endpoint = own or (f"{base}/v1/{signal.lower()}" if base else "")
        if not endpoint:
            return None
        certificate, key = setting("CLIENT_CERTIFICATE"), setting("CLIENT_KEY")
        return cls(
            endpoint,
            headers=_pairs(setting("HEADERS")),
            timeout_s=_seconds(setting("TIMEOUT")),
            compress=setting("COMPRESSION").lower() == "gzip",
            certificate=setting("CERTIFICATE") or None,
            client_certificate=(certificate, key) if certificate and key else None,
        )

    def post(self, body: bytes) -> "httpx.Response":
        """Raises `SendError` for anything but success."""
        return post(self._client, self.endpoint, body, self._headers, compress=self._compress)

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> "httpx.Client":
        import ssl

        import httpx

        context: ssl.SSLContext | bool = True
        if self._certificate or self._client_certificate:
            context = ssl.create_default_context(cafile=self._certificate)
            if self._client_certificate:
                context.load_cert_chain(*self._client_certificate)
        return httpx.Client(timeout=self._timeout_s, verify=context)


class OtlpSender:
    """Sends traces to a collector."""

    overwrites = False
    """What is sent again stands there twice."""

    def __init__(self, collector: OtlpEndpoint) -> None:
        self._collector = collector
        self.destination = f"otlp {collector.endpoint}"

    @classmethod
    def configured(cls) -> "OtlpSender | None":
        """As the environment says; None when it names no collector."""
        collector = OtlpEndpoint.configured("TRACES")
        return cls(collector) if collector else None

    def close(self) -> None:
        self._collector.close()

    def send(self, traces: list[Trace]) -> Rejected | None:
        traces = [trace for trace in traces if trace.records]
        if not traces:
            return None
        body = encode(traces, otel_run, otel_attributes)
        return rejected(self._collector.post(body))


def encode(
    traces: list[Trace],
    run_attributes: Callable[[RunInfo], Named],
    attributes: Callable[[Record], Named],
    name: Callable[[Record], str] = attrgetter("name"),
) -> bytes:
    """Traces as a serialised ``ExportTraceServiceRequest``."""
    return message(traces, run_attributes, attributes, name).SerializeToString()


def as_json(trace: Trace) -> dict[str, Any]:
    """A trace as OTLP in JSON, which collectors read from files: hexadecimal ids, numbers for enums."""
    import base64

    from google.protobuf.json_format import MessageToDict

    request: Any = MessageToDict(message([trace], otel_run, otel_attributes), use_integers_for_enums=True)
    for resource_spans in request["resourceSpans"]:
        for span in (span for scope_spans in resource_spans["scopeSpans"] for span in scope_spans["spans"]):
            for key in ("traceId", "spanId", "parentSpanId"):
                if key in span:
                    span[key] = base64.b64decode(span[key]).hex()
    return request


def message(
    traces: list[Trace],
    run_attributes: Callable[[RunInfo], Named],
    attributes: Callable[[Record], Named],
    name: Callable[[Record], str] = attrgetter("name"),
) -> Any:
    """Traces as an ``ExportTraceServiceRequest``."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

    request = ExportTraceServiceRequest()
    by_environment: dict[str, Any] = {}
    for trace in traces:
        info = trace.info
        scope = by_environment.get(info.environment)
        if scope is None:
            resource_spans: Any = request.resource_spans.add()
            named = {**resource_attributes(), "deployment.environment.name": info.environment}
            fill(resource_spans.resource.attributes, named)
            scope = by_environment[info.environment] = resource_spans.scope_spans.add()
            scope.scope.name, scope.scope.version = "sluicegate", version("sluicegate")
        trace_bytes = bytes.fromhex(info.trace_id)
        shared: Any = Span()
        fill(shared.attributes, run_attributes(info))
        for record in trace.records:
            span: Any = scope.spans.add()
            span.trace_id = trace_bytes
            span.span_id = bytes.fromhex(record.id)
            if record.parent:
                span.parent_span_id = bytes.fromhex(record.parent)
            span.name = name(record)
            span.kind = Span.SPAN_KIND_CLIENT if record.type in _OUTGOING else Span.SPAN_KIND_INTERNAL
            span.start_time_unix_nano = record.start_ns
            span.end_time_unix_nano = record.end_ns
            span.attributes.MergeFrom(shared.attributes)
            fill(span.attributes, attributes(record))
            if record.level == "ERROR":
                span.status.code, span.status.message = Status.STATUS_CODE_ERROR, record.message
    return request


_OUTGOING = ("generation", "embedding")


def resource_attributes() -> dict[str, str]:
    """The resource that spans belong to, by ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME``."""
    named = {"service.name": "sluicegate", "service.version": version("sluicegate"), "telemetry.sdk.language": "python"}
    named |= _pairs(os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    if name := os.environ.get("OTEL_SERVICE_NAME"):
        named["service.name"] = name
    return named


def post(
    client: "httpx.Client", url: str, body: bytes, headers: Mapping[str, str], *, compress: bool
) -> "httpx.Response":
    """Post an encoded request. Raises `SendError` for anything but success."""
    encoding = {"Content-Encoding": "gzip"} if compress else {}
    content = gzip.compress(body, 3) if compress else body
    return request(
        client, "POST", url, content=content, headers={"Content-Type": "application/x-protobuf", **encoding, **headers}
    )


def request(client: "httpx.Client", method: str, url: str, **options: Any) -> "httpx.Response":
    """A request whose every failure is a `SendError` that says whether to try again."""
    import httpx

    try:
        response = client.request(method, url, **options)
    except (httpx.TransportError, httpx.InvalidURL, OSError) as error:
        raise SendError(f"{type(error).__name__}: {error}".rstrip(": "), again=True) from error
    status = response.status_code
    if response.is_success:
        return response
    reason = _REASONS.get(status, "the server answered")
    raise SendError(
        f"{reason} ({status})", again=status in (408, 425, 429) or status >= 500, too_large=status == 413, status=status
    )


_REASONS = {
    401: "the keys are refused",
    403: "the keys have no write access",
    404: "address not found",
    413: "too large for the server",
}


def rejected(response: "httpx.Response") -> Rejected | None:
    """What a collector rejected of a request it accepted."""
    if not response.headers.get("Content-Type", "").startswith("application/x-protobuf"):
        return None
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    answer: Any = ExportTraceServiceResponse()
    try:
        answer.ParseFromString(response.content)
    except DecodeError:
        return None
    partial = answer.partial_success
    return Rejected(partial.rejected_spans, partial.error_message) if partial.rejected_spans else None


def fill(attributes: Any, named: Mapping[str, Any]) -> None:
    """Add attributes to a list of them in a message; a value that is no text, number or boolean is a list of texts."""
    for key, value in named.items():
        entry = attributes.add()
        entry.key = key
        if isinstance(value, str):
            entry.value.string_value = value
        elif isinstance(value, bool):
            entry.value.bool_value = value
        elif isinstance(value, int):
            entry.value.int_value = max(-(2**63), min(2**63 - 1, value))
        elif isinstance(value, float):
            entry.value.double_value = value
        else:
            entry.value.array_value.SetInParent()
            for item in value:
                entry.value.array_value.values.add().string_value = item


def _seconds(text: str) -> float:
    """A timeout; anything but a positive number means the standard 10 s, as in OpenTelemetry's own exporter."""
    try:
        given = float(text)
    except ValueError:
        return 10.0
    return given if 0 < given < float("inf") else 10.0


def _pairs(text: str) -> dict[str, str]:
    """``key=value,key=value`` with percent-encoded values, as W3C Baggage writes them."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {unquote(key).strip(): unquote(value).strip() for key, _, value in pairs}
