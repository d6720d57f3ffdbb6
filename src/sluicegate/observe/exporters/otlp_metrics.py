"""Metrics by OTLP, from the families that Prometheus would scrape and under their names; sums are cumulative.

The variables are those of `otlp` in their ``METRICS`` form, and ``OTEL_METRIC_EXPORT_INTERVAL`` (milliseconds, 60000).
"""

import os
import secrets
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sluicegate.observe.exporters.otlp import OtlpEndpoint, fill, resource_attributes

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.samples import Sample

__all__ = ["MetricsSender", "encode_metrics", "interval_s"]

_CUMULATIVE = 2
"""``AGGREGATION_TEMPORALITY_CUMULATIVE``."""


class MetricsSender:
    """Sends metrics to a collector. Safe to use from one thread at a time."""

    def __init__(self, endpoint: OtlpEndpoint) -> None:
        self._endpoint = endpoint
        self._since = time.time_ns()
        # of several processes on one machine each counts for itself
        self._resource = {**resource_attributes(), "service.instance.id": secrets.token_hex(8)}

    @classmethod
    def configured(cls) -> "MetricsSender | None":
        """As the environment says; None when it names no collector."""
        endpoint = OtlpEndpoint.configured("METRICS")
        return cls(endpoint) if endpoint else None

    def send(self, families: "Iterable[Metric]") -> None:
        """Raises `SendError`."""
        self._endpoint.post(encode_metrics(families, self._resource, since_ns=self._since, now_ns=time.time_ns()))

    def close(self) -> None:
        self._endpoint.close()


def interval_s() -> float:
    """Seconds from one export to the next; anything but a positive number means the standard 60."""
    try:
        given = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")) / 1000
    except ValueError:
        return 60.0
    return given if 0 < given < float("inf") else 60.0


def encode_metrics(families: "Iterable[Metric]", resource: Mapping[str, Any], *, since_ns: int, now_ns: int) -> bytes:
    """Families as a serialised ``ExportMetricsServiceRequest``; those of other types than counter, gauge and histogram
    are left out."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    request = ExportMetricsServiceRequest()
    resource_metrics: Any = request.resource_metrics.add()
    fill(resource_metrics.resource.attributes, resource)
    scope: Any = resource_metrics.scope_metrics.add()
    scope.scope.name, scope.scope.version = "sluicegate", version("sluicegate")
    for family in families:
        if not family.samples or family.type not in ("counter", "gauge", "histogram"):
            continue
        metric: Any = scope.metrics.add()
        metric.name, metric.description, metric.unit = family.name, family.documentation, family.unit
        if family.type == "histogram":
            metric.histogram.aggregation_temporality = _CUMULATIVE
            points = _histograms(metric.histogram, family.samples)
        elif family.type == "counter":
            metric.sum.aggregation_temporality, metric.sum.is_monotonic = _CUMULATIVE, True
            points = _numbers(metric.sum, family.samples)
        else:
            points = _numbers(metric.gauge, family.samples)
        for point in points:
            point.time_unix_nano = now_ns
            if family.type != "gauge":
                point.start_time_unix_nano = since_ns
    return request.SerializeToString()


def _numbers(into: Any, samples: "Iterable[Sample]") -> list[Any]:
    points: list[Any] = []
    for sample in samples:
        # when a counter was made is no number of it
        if not sample.name.endswith("_created"):
            point = into.data_points.add()
            fill(point.attributes, sample.labels)
            point.as_double = sample.value
            points.append(point)
    return points


def _histograms(into: Any, samples: "Iterable[Sample]") -> list[Any]:
    points: dict[tuple[tuple[str, str], ...], Any] = {}
    below: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = tuple(sorted(labels.items()))
        if key not in points:
            points[key] = into.data_points.add()
            fill(points[key].attributes, labels)
        point = points[key]
        if sample.name.endswith("_bucket"):
            # Prometheus counts what is below a bound, OTLP what is between two
            point.bucket_counts.append(int(sample.value - below.get(key, 0.0)))
            below[key] = sample.value
            if sample.labels["le"] != "+Inf":
                point.explicit_bounds.append(float(sample.labels["le"]))
        elif sample.name.endswith("_sum"):
            point.sum = sample.value
        elif sample.name.endswith("_count"):
            point.count = int(sample.value)
    return [*points.values()]
