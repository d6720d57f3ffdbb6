"""A workflow within another one: `claims`, which has people identified by `kyc`."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.services import Services
from tests.support.fakes import FakeModels, FakeRouter

FOLDER = Path(__file__).parents[1] / "graphs" / "nested" / "family"
ANN = principal("ann", ["employee"])
CLERK = principal("cleo", ["clerk"])


def family(at: Path) -> Path:
    """A copy of both; the file of the outer one."""
    return shutil.copytree(FOLDER, at / "family") / "claims" / "workflow.yaml"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def kyc_of(claims: Path) -> Path:
    return claims.parents[1] / "kyc" / "workflow.yaml"


def without_people(claims: Path) -> Path:
    """`claims` with nobody to ask in `kyc`."""
    kyc = kyc_of(claims)
    edit(kyc, "guards: [length], then: approve", "guards: [length], then: respond")
    text = kyc.read_text()
    kyc.write_text(text[: text.index("  approve:\n")] + text[text.index("  respond:") :])
    edit(kyc, "then: respond}\n", "then: [{when: checks.failed, go: refuse}, {otherwise: respond}]}\n")
    return claims


def opened(claims: Path, models: Any = None, **options: Any) -> Opened:
    """Ready to run on stand-in models."""
    models = models or FakeModels(usd=0.001)

    def change(services: Services) -> Services:
        return replace(services, models=models, router=FakeRouter("identity"))

    return open_workflow(claims, change=change, **options)
