"""What a server tells Prometheus, read as Prometheus reads it."""

import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["OPERATOR", "all_documented", "exported", "samples", "scraped", "value"]

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


def exported(text: str) -> dict[str, set[str]]:
    """The labels of each metric of ours that is there, by the name that an expression uses."""
    found = dict[str, set[str]]()
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("process_") and not family.name.endswith("_created"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = {label for sample in family.samples for label in sample.labels if label != "le"}
    return found


def all_documented(text: str) -> None:
    """Every metric is on the page of operating, with its labels where it has samples."""
    page = Path("docs/operating.md").read_text("utf-8").partition("### Metrics")[2]
    rows = {
        name: set(re.findall(r"`(\w+)`", line.split("|")[2]))
        for line in page.splitlines()
        if line.startswith("| `sluicegate_")
        for name in re.findall(r"`([^`]+)`", line.split("|")[1])
    }
    for name, labels in exported(text).items():
        assert name in rows, f"{name} is not on the page"
        assert labels in (rows[name], set()), name
