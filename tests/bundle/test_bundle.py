"""What goes into a bundle, and what its installer refuses. `tests/test_artefacts.py` installs from a whole one."""

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import CliRunner

from sluicegate.bundle import archive
from sluicegate.bundle.contents import bundled, collected_wheels
from sluicegate.cli import bundle as bundle_command
from sluicegate.errors import RunError
from sluicegate.serving.process.discovery import load_all
from tests.support import ROOT
from tests.support.wheels import write_wheel

PATTERN = ROOT / "configs" / "patterns" / "2-policy-gate"


@pytest.fixture
def few_wheels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One small wheel in the place of a hundred and fifty."""
    write_wheel(tmp_path / "index", "sample-part", {"sample_part.py": b""}, metadata="License-Expression: MIT\n")
    (wheel,) = (tmp_path / "index").glob("*.whl")

    def collected(source: Path, extras: Sequence[str], into: Path) -> dict[Path, str]:
        return {wheel: "sample-part==1.0"}

    monkeypatch.setattr(archive, "collected_wheels", collected)


@pytest.fixture
def bundle(few_wheels: None, tmp_path: Path) -> Path:
    """The folder of an unpacked one."""
    archive.write_bundle(tmp_path / "a.tar", [PATTERN], load_all([PATTERN]), extras=["serve"], source=ROOT)
    with tarfile.open(tmp_path / "a.tar") as opened:
        opened.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("sluicegate-bundle-*")
    return folder


def installed(bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(bundle / "install.py"), str(target)], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_every_file_is_listed_with_its_hash_and_every_part_in_the_bill(bundle: Path) -> None:
    sums = dict(reversed(line.split("  ", 1)) for line in (bundle / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {*sums, "SHA256SUMS"}
    assert all(hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    assert "workflows/2-policy-gate/workflow.yaml" in files
    (line,) = (bundle / "requirements.txt").read_text().splitlines()
    assert line == f"sample-part==1.0 --hash=sha256:{sums['wheels/sample_part-1.0-py3-none-any.whl']}"

    text = (bundle / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parts = {each["bom-ref"]: each for each in json.loads(text)["components"]}
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    assert parts["wheels/sample_part-1.0-py3-none-any.whl"]["licenses"] == [{"expression": "MIT"}]
    (workflow,) = manifest["workflows"]
    assert parts[workflow["file"]]["hashes"][0]["content"] == workflow["digest"]
    weights = [each for each in parts if each.startswith("weights/")]
    assert len(weights) == len(manifest["weights"]) > 0
    assert all(parts[each]["hashes"][0]["content"] == sums[each] for each in weights)


def test_the_same_contents_are_the_same_bytes(
    few_wheels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "weights_for", lambda _: {})
    copied = tmp_path / "elsewhere" / PATTERN.name
    shutil.copytree(PATTERN, copied)
    for name, folder in (("a.tar", PATTERN), ("b.tar", copied)):
        archive.write_bundle(tmp_path / name, [folder], load_all([folder]), extras=[], source=ROOT)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.slow
def test_it_says_which_store_an_index_is_read_from(
    few_wheels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "weights_for", lambda _: {})
    folder = tmp_path / "made" / PATTERN.name
    shutil.copytree(PATTERN, folder)
    file = folder / "workflow.yaml"
    text = file.read_text(encoding="utf-8")
    stored = text.replace("rules: {path: knowledge}", 'rules: {path: knowledge, store: "s3://our-bucket/kb"}')
    assert stored != text
    file.write_text(stored, encoding="utf-8")
    out = tmp_path / "a.tar"
    for extras, said in (([], "bundle with --extra s3"), (["s3"], "")):
        options = [word for extra in extras for word in ("--extra", extra)]
        done = CliRunner().invoke(bundle_command.app, [str(out), str(folder), *options])
        assert done.exit_code == 0, done.output
        assert "the index policy-gate/rules, which is read from s3://our-bucket/kb" in done.output
        assert (said in done.output) if said else ("--extra" not in done.output)
    with tarfile.open(out) as opened:
        (inside,) = [each for each in opened.getnames() if each.endswith("manifest.json")]
        manifest = json.load(opened.extractfile(inside))  # type: ignore[arg-type]
    assert manifest["stores"] == {"policy-gate/rules": "s3://our-bucket/kb"}


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["changed", "absent", "further"])
def test_what_is_not_as_it_was_made_is_not_installed(bundle: Path, tmp_path: Path, harm: str) -> None:
    file = bundle / "workflows" / "2-policy-gate" / "workflow.yaml"
    if harm == "changed":
        file.write_text(file.read_text() + "\n")
    elif harm == "absent":
        file.unlink()
    else:
        file = bundle / "wheels" / "other.whl"
        file.write_bytes(b"")
    done = installed(bundle, tmp_path / "target")
    assert done.returncode == 1
    assert done.stderr == f"not as it was made: {file.relative_to(bundle).as_posix()}\n"
    assert not (tmp_path / "target").exists()


@pytest.mark.slow
def test_another_machine_or_a_used_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "mine").touch()
    assert installed(bundle, target).stderr == f"{target} is not empty\n"
    manifest = bundle / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "python": "2.7"}))
    assert "this bundle is for Python 2.7 on " in installed(bundle, tmp_path / "new").stderr


def test_what_a_workflow_needs_from_elsewhere_is_named(tmp_path: Path) -> None:
    child = tmp_path / "child"
    child.mkdir()
    (child / "workflow.yaml").write_text(f"extends: {PATTERN / 'workflow.yaml'}\nworkflow: child\n")
    with pytest.raises(RunError, match=r"child needs .*2-policy-gate, which is outside of the bundled folders"):
        bundled(load_all([child]), [child])


@pytest.mark.slow
def test_pips_words_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="pip could not collect the wheels: ERROR: ") as caught:
        collected_wheels(tmp_path / "no.whl", [], tmp_path / "wheels")
    assert caught.value.code == "SG680"
