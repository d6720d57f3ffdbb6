"""Destinations of traces besides the local store, from the environment; none by default."""

from collections.abc import Callable

from sluicegate.observe.exporters.export import QueuedExporter, Withholding
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender
from sluicegate.observe.exporters.otlp import OtlpSender
from sluicegate.observe.tracing.exporter import Exporter
from sluicegate.observe.tracing.spans import Trace

__all__ = ["configured_exporters", "destinations", "senders"]


def senders() -> list[LangfuseSender | OtlpSender]:
    """One per configured destination; nothing is connected yet."""
    found: list[LangfuseSender | OtlpSender] = []
    if keys := Keys.configured():
        found.append(LangfuseSender(keys))
    if collector := OtlpSender.configured():
        found.append(collector)
    return found


def configured_exporters(withheld: Callable[[Trace], bool]) -> list[Exporter]:
    """Exporters for a `Tracer`; of a run that is `withheld` from those who read there, no texts are sent."""
    return [QueuedExporter(Withholding(sender, withheld)) for sender in senders()]


def destinations() -> str:
    """One line that says where traces go."""
    names = [sender.destination for sender in senders()]
    if names:
        return f"Traces go to the local store, {' and '.join(names)}."
    return "Traces stay in the local store: neither Langfuse keys nor an OTLP endpoint are set."
