"""The one door to guardrails-ai, with everything shut that would leave the process.

The library reads `~/.guardrailsrc` again for every guard it builds and, unless that says otherwise, sends usage spans
to its hub; it starts an exporter thread even when told not to, makes an HTTP client for its server, writes checked
texts into OpenTelemetry spans, and keeps log records and recent calls with their texts in memory. All of it is
switched off here; nothing in this project imports guardrails by another way.
"""

import logging
import sys
import threading
from typing import Any

__all__ = ["guardrails", "warm"]

_lock = threading.Lock()
_loaded: list[Any] = []


def guardrails() -> Any:
    """The `guardrails` module, imported once and quietened. Takes about four seconds the first time."""
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
    # jsonschema would import this parser of IRIs, which takes 1.4 s, for a format that no guard uses
    absent = "rfc3987_syntax"
    spared = absent not in sys.modules
    if spared:
        sys.modules[absent] = None  # pyright: ignore[reportArgumentType]
    try:
        import guardrails as library
        import guardrails.guard as guard_module
        from guardrails.classes.rc import RC
        from guardrails.utils.hub_telemetry_utils import HubTelemetry
    finally:
        if spared:
            sys.modules.pop(absent, None)

    shut: Any = RC(enable_metrics=False, use_remote_inferencing=False)
    vars_of: dict[Any, dict[str, Any]] = {
        # Guard() loads the file again, so the settings alone would not last
        RC: {"load": classmethod(lambda cls, logger=None: shut)},  # noqa: ARG005  # pyright: ignore[reportUnknownLambdaType]
        # a ready instance with no tracer: the constructor would start an exporter thread
        HubTelemetry: {"_instance": object.__new__(HubTelemetry)},
        guard_module: {"GuardrailsApiClient": lambda **_: None},  # pyright: ignore[reportUnknownLambdaType]
        library.settings: {"rc": shut, "disable_tracing": True, "use_server": False},
    }
    for owner, values in vars_of.items():
        for name, value in values.items():
            setattr(owner, name, value)
    # its scope handler would keep every record for the life of the process
    logging.getLogger("guardrails-ai").setLevel(logging.CRITICAL + 1)
    return library
