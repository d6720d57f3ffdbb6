"""docs/documents.md: its tables name what there is, and its example documents are ingested as it says."""

import re
from pathlib import Path

import pytest
import yaml

from sluicegate.retrieval.catalog import Catalog
from sluicegate.retrieval.config import IndexConfig
from sluicegate.retrieval.loaders import SIDECAR, SUFFIXES
from sluicegate.retrieval.metadata import DocumentFacts
from tests.support.knowledge import Desk, HashEmbedder, person
from tests.support.pages import blocks, page, table

pytestmark = pytest.mark.slow

PAGE = page("docs/documents.md")


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_ending_and_every_key_is_on_the_page() -> None:
    assert {ending for row in table(PAGE, "ending") for ending in names(row)} == SUFFIXES
    assert [name for row in table(PAGE, "key") for name in names(row)] == list(DocumentFacts.model_fields)


async def test_the_documents_of_the_page_have_the_metadata_that_they_say(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "w", tmp_path / "indexes", IndexConfig(path=("knowledge",)), HashEmbedder())
    (markdown,), (html,), (sidecar, _) = (blocks(PAGE, language) for language in ("markdown", "html", "yaml"))
    desk.write("returns.md", markdown)
    desk.write("wifi.html", html)
    desk.write("handbook.txt", "Ask your manager for leave.")
    desk.write(f"handbook.txt{SIDECAR}", sidecar)
    desk.write("draft.txt", "Nobody has approved this.")
    report = await desk.ingest()

    (notice,) = report.problems
    assert (notice.code, notice.severity) == ("SG403", "warning")
    assert "draft.txt" in notice.message
    head, documents = Catalog(desk.indexes / "kb").documents()
    assert head is not None
    returns = documents["returns"]
    assert (returns.version, returns.owner, returns.tags) == ("1.10", "Customer service", ("returns", "shipping"))
    assert returns.readers == ("group:partners", "role:employee")
    assert (returns.clearance, returns.valid_until) == ("internal", 20991231)
    wifi = documents["knowledge/wifi.html"]
    assert (wifi.title, wifi.approved, wifi.readers, wifi.source) == ("Guest wifi", True, ("everyone",), wifi.id)
    assert documents["knowledge/handbook.txt"].title == "Employee handbook"

    assert "returns" in await desk.ids("Goods can be returned", person("ann", roles=["employee"]))
    assert "returns" not in await desk.ids("Goods can be returned", person("tim"))
    assert "knowledge/draft.txt" in documents
    assert "knowledge/draft.txt" not in await desk.ids("Nobody has approved this")


def test_the_store_of_the_page_is_one() -> None:
    _, indexes = blocks(PAGE, "yaml")
    config = IndexConfig(**yaml.safe_load(indexes)["indexes"]["kb"])
    assert config.store == "s3://our-bucket/kb"
    assert f"`store_outage_hours` ({config.store_outage_hours:g})" in PAGE
