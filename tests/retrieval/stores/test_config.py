"""What may stand under `store:`."""

from pathlib import Path

import pytest

from sluicegate.errors import ConfigError
from sluicegate.graphs.config.load import load
from sluicegate.retrieval.config import IndexConfig


@pytest.mark.parametrize("store", ["s3://our-bucket/kb", "s3://our.bucket/teams/it/kb", "/mnt/shared/kb"])
def test_a_bucket_with_a_prefix_or_a_folder(store: str) -> None:
    assert IndexConfig(path=("knowledge",), store=store).store == store
    assert IndexConfig(path=("knowledge",), store=f"{store}/").store == store


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ("s3://our-bucket", "no prefix"),
        ("s3://our-bucket/", "no prefix"),
        ("s3://our-bucket/a/../b", "no prefix"),
        ("s3://Our_Bucket/kb", "is no s3://BUCKET/PREFIX"),
        ("gs://our-bucket/kb", "is no s3://BUCKET/PREFIX"),
        ("shared/kb", "no absolute path"),
        ("s3://KEY:SECRET@our-bucket/kb", "credentials"),
        ("s3://our-bucket/kb?X-Amz-Signature=SECRET", "credentials"),
    ],
)
def test_anything_else_is_refused_without_repeating_a_secret(store: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_text(
        "workflow: one\nversion: 1\nmodels: {slm: {use: 'embedded:extractive'}}\n"
        f"indexes: {{kb: {{path: k, store: {store!r}}}}}\nstart: end\nnodes: {{end: {{kind: respond}}}}\n"
    )
    with pytest.raises(ConfigError, match=why) as caught:
        load(path)
    assert "SECRET" not in str(caught.value)


def test_two_indexes_do_not_share_a_store(tmp_path: Path) -> None:
    path = tmp_path / "workflow.yaml"
    index = "{path: k, store: 's3://our-bucket/kb'}"
    path.write_text(
        "workflow: one\nversion: 1\nmodels: {slm: {use: 'embedded:extractive'}}\n"
        f"indexes: {{a: {index}, b: {index}}}\nstart: end\nnodes: {{end: {{kind: respond}}}}\n"
    )
    with pytest.raises(ConfigError, match="the store of index 'a', too"):
        load(path)
