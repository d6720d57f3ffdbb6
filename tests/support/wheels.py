"""Small wheels in a folder that pip takes for its index."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from sluicegate.models.embedded.pinned import Wheel

__all__ = ["sha256", "write_wheel"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_wheel(index: Path, package: str, files: Mapping[str, bytes], *, metadata: str = "") -> Wheel:
    """A wheel of version 1.0 with `files` by their path in it, pinned as it is written."""
    index.mkdir(exist_ok=True)
    name = package.replace("-", "_")
    path = index / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for member, content in files.items():
            wheel.writestr(member, content)
        about = f"{name}-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n{metadata}")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    data = path.read_bytes()
    return Wheel(package, "1.0", sha256(data), len(data))
