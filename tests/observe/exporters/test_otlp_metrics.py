"""Metrics by OTLP: the same numbers that Prometheus is told, in the collector's form."""

from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from sluicegate.observe.exporters.export import SendError
from sluicegate.observe.exporters.otlp_metrics import MetricsSender, encode_metrics, interval_s
from tests.support.receiver import Receiver


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    runs = Counter("runs", "Runs.", ("status",), registry=made)
    runs.labels("answered").inc(3)
    runs.labels("refused").inc()
    Gauge("inside", "Requests.", registry=made).set(2)
    seconds = Histogram("seconds", "How long.", ("node",), buckets=(0.1, 1), registry=made)
    for value in (0.05, 0.5, 0.6, 5):
        seconds.labels("check").observe(value)
    Info("build", "Left out: it is no number.", registry=made).info({"version": "1"})
    return made


def attributes(point: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in point.attributes}


def test_sums_gauges_and_histograms() -> None:
    body = encode_metrics(registry().collect(), {"service.name": "desk"}, since_ns=5, now_ns=9)
    (sent,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert [(each.key, each.value.string_value) for each in sent.resource.attributes] == [("service.name", "desk")]
    metrics = {metric.name: metric for metric in sent.scope_metrics[0].metrics}
    assert set(metrics) == {"runs", "inside", "seconds"}

    runs = metrics["runs"].sum
    assert (runs.is_monotonic, runs.aggregation_temporality) == (True, 2)
    assert {attributes(each)["status"]: each.as_double for each in runs.data_points} == {"answered": 3, "refused": 1}
    assert {(each.start_time_unix_nano, each.time_unix_nano) for each in runs.data_points} == {(5, 9)}

    (inside,) = metrics["inside"].gauge.data_points
    assert (inside.as_double, inside.time_unix_nano, inside.start_time_unix_nano) == (2, 9, 0)

    (seconds,) = metrics["seconds"].histogram.data_points
    assert attributes(seconds) == {"node": "check"}
    assert (list(seconds.explicit_bounds), list(seconds.bucket_counts)) == ([0.1, 1], [1, 2, 1])
    assert (seconds.count, seconds.sum) == (4, pytest.approx(6.15))


def test_it_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MetricsSender.configured() is None
    with Receiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip")
        one, other = MetricsSender.configured(), MetricsSender.configured()
        assert one
        assert other
        for sender in (one, other):
            sender.send(registry().collect())
        resources = [attributes(each.resource_metrics[0].resource) for each in collector.metrics]
        assert len({each.pop("service.instance.id") for each in resources}) == 2
        assert resources[0] == resources[1]
        collector.status = 503
        with pytest.raises(SendError, match="503"):
            one.send(registry().collect())
        one.close()
        other.close()
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert MetricsSender.configured() is None


@pytest.mark.parametrize(
    ("given", "seconds"), [("", 60), ("5000", 5), ("0", 60), ("soon", 60), ("inf", 60), ("-1", 60)]
)
def test_how_often(given: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", given)
    assert interval_s() == seconds
