"""Objects on S3 and in a folder: one behaviour, and errors that say what is wrong."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluicegate.errors import RetrievalError
from sluicegate.retrieval.stores.objects import open_objects
from tests.support.s3 import BUCKET, S3Server


def test_a_write_under_a_condition_happens_or_does_not(store: str) -> None:
    objects = open_objects(f"{store}/conditions")
    assert objects.get("current") is None
    first = objects.put("current", b"first", None)
    assert first
    assert objects.put("current", b"another first", None) is None
    second = objects.put("current", b"second", first)
    assert second
    assert objects.put("current", b"late", first) is None
    assert objects.put("absent", b"late", first) is None
    found = objects.get("current")
    assert found == second
    assert objects.get("current", found) is found
    # whose answer was lost, and which was therefore sent once more
    assert objects.put("current", b"second", first) in (second, None)


def test_of_many_that_count_none_is_lost(store: str) -> None:
    objects = open_objects(f"{store}/counting")
    objects.put("count", b"0 nobody", None)

    def count(name: int) -> None:
        counted = 0
        while counted < 5:
            now = objects.get("count")
            assert now
            number = int(now.content.split()[0]) + 1
            counted += objects.put("count", f"{number} {name}".encode(), now) is not None

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    final = objects.get("count")
    assert final
    assert final.content.split()[0] == b"20"


def test_files_of_any_size_go_there_and_back(store: str, tmp_path: Path) -> None:
    objects = open_objects(f"{store}/files")
    # more than one part
    content = bytes(range(256)) * 30_000
    (tmp_path / "there").write_bytes(content)
    objects.upload("files/0000000001/0", tmp_path / "there")
    (tmp_path / "empty").write_bytes(b"")
    objects.upload("files/0000000001/1", tmp_path / "empty")
    assert objects.download("files/0000000001/0", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    assert objects.download("files/0000000001/2", tmp_path / "absent") is None
    assert [at.key for at in objects.list("files/")] == ["files/0000000001/0", "files/0000000001/1"]
    assert 0 <= objects.age("files/0000000001/0") < 300
    assert objects.age("files/0000000001/2") == float("inf")
    objects.delete(["files/0000000001/0", "files/0000000001/2"])
    assert [at.key for at in objects.list("files/")] == ["files/0000000001/1"]
    assert objects.list("versions/") == []


def test_wrong_credentials_and_a_missing_bucket_are_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RetrievalError, match=r"SG701.* s3://no-such-bucket/kb refuses: NoSuchBucket"):
        open_objects("s3://no-such-bucket/kb").get("current")
    with pytest.raises(RetrievalError, match="NoSuchBucket"):
        open_objects("s3://no-such-bucket/kb").put("current", b"", None)
    with pytest.raises(RetrievalError, match="NoSuchBucket"):
        open_objects("s3://no-such-bucket/kb").list("files/")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    objects = open_objects(f"s3://{BUCKET}/kb")
    asks: list[Callable[[], object]] = [
        lambda: objects.get("current"),
        lambda: objects.put("current", b"x", None),
        lambda: objects.list("files/"),
    ]
    for ask in asks:
        with pytest.raises(RetrievalError, match=r"SG701.*SignatureDoesNotMatch") as caught:
            ask()
        assert "AWS_ACCESS_KEY_ID" in (caught.value.hint or "")


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(RetrievalError, match=r"SG700.* s3://knowledge/kb cannot be reached") as caught:
        open_objects("s3://knowledge/kb").get("current")
    assert "AWS_ENDPOINT_URL" in (caught.value.hint or "")


@pytest.mark.slow
def test_a_profile_signs(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = (s3.environment[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    written = tmp_path / "credentials"
    written.write_text(f"[writer]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(written))
    monkeypatch.setenv("AWS_PROFILE", "writer")
    assert open_objects(f"s3://{BUCKET}/profile").put("current", b"signed", None)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(RetrievalError, match=r"SG701.*nobody"):
        open_objects(f"s3://{BUCKET}/profile")


def test_a_folder_that_may_not_be_read_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(RetrievalError, match=r"SG701.*Permission denied"):
        open_objects(str(tmp_path)).get("current")
