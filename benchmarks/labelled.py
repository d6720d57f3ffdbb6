"""Labelled texts that benchmarks of guards share: development data beside the repository, and cases of the tests."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["CASES", "DATA", "LONG", "cases", "development"]

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
CASES = ROOT / "tests" / "policies" / "guards"
LONG = (
    "To reset your password open the portal, choose 'Forgot password' and follow the link that is sent to your "
    "address within 15 minutes [1]. Call the desk at +41 44 555 01 23 on Monday 12 May 2025 if the link fails; "
    "order 12345678 and room 4.12 are no secrets. Servers 10.0.0.12 and 10.0.0.13 are restarted at 02:00 [2]. "
)
"""An answer, as long as it takes to see how long a guard needs."""


def development(name: str) -> list[dict[str, Any]]:
    file = DATA / f"{name}.jsonl.gz"
    if not file.exists():
        sys.exit(f"{file} is absent: the development data are needed")
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def cases(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
