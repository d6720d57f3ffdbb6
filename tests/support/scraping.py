"""What a server tells Prometheus, read as Prometheus reads it."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["OPERATOR", "samples", "scraped", "value"]

OPERATOR = {"x-user": "olga", "x-roles": "operator"}


def scraped(client: httpx.Client) -> str:
    response = client.get("/metrics", headers=OPERATOR)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain; version=")
    return response.text


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    wanted = set(labels.items())
    found = [each for (named, given), each in samples(text).items() if named == name and wanted <= set(given)]
    assert found, f"no {name} with {labels}"
    return sum(found)
