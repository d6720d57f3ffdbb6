"""The only import of guardrails-ai, with everything disabled that would leave the process.

The library reads `~/.guardrailsrc` again for every guard it builds and, unless that says otherwise, sends usage spans
to its hub; it starts an exporter thread even when told not to, makes an HTTP client for its server, writes checked
texts into OpenTelemetry spans, and keeps log records and recent calls with their texts in memory. All of it is
switched off here; nothing else in this project imports guardrails.
"""

import logging
import threading
from typing import Any

from sluicegate.lazy_modules import SCHEMA_FORMATS, postponed

__all__ = ["guardrails", "warm"]

_lock = threading.Lock()
_loaded: list[Any] = []

_UNUSED = {
    **SCHEMA_FORMATS,
    # what sends usage to the library's hub, and spans to a collector
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter": ["OTLPSpanExporter"],
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": ["OTLPSpanExporter"],
}


def guardrails() -> Any:
    """The `guardrails` module, imported once and silenced. Takes about a second the first time."""
    with _lock:
        if not _loaded:
            _loaded.append(_load())
        return _loaded[0]


def warm() -> threading.Thread:
    """Import the library in the background, so that the first check need not wait for it."""
    thread = threading.Thread(target=guardrails, name="warm-guardrails", daemon=True)
    thread.start()
    return thread


def _load() -> Any:
    with postponed(_UNUSED):
        import guardrails as library
        import guardrails.guard as guard_module
        from guardrails.classes.rc import RC
        from guardrails.utils.hub_telemetry_utils import HubTelemetry

    settings_class: Any = RC
    shut = settings_class(enable_metrics=False, use_remote_inferencing=False)

    def load(*ignored: object) -> Any:
        del ignored
        return shut

    def no_client(**ignored: object) -> None:
        del ignored

    # Guard() loads the file again, so the settings alone would not last
    settings_class.load = load
    # a ready instance without a tracer: the constructor would start an exporter thread
    telemetry: Any = HubTelemetry
    telemetry._instance = object.__new__(HubTelemetry)
    module: Any = guard_module
    module.GuardrailsApiClient = no_client
    chosen: Any = library.settings
    chosen.rc, chosen.disable_tracing, chosen.use_server = shut, True, False
    # its scope handler would keep every record for the life of the process
    logging.getLogger("guardrails-ai").setLevel(logging.CRITICAL + 1)
    return library
