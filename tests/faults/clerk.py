"""The command line in processes that need no start: everything is imported once, each command runs in a fork.

``python -m tests.faults.clerk`` reads one command a line, as JSON (``{"home": …, "command": […]}``), and answers with
its exit status and what it wrote, as one JSON line. The command is the real one, with every real store; the models
answer at once (see `tests.redteam.adversary`) and the router knows the two requests.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sluicegate.graphs.runtime import factory as opening
from sluicegate.models.chain import ModelSet
from sluicegate.services import Classification
from tests.redteam.adversary import FixedRouter, Obedient
from tests.support.forked_commands import carried_out, imported


class ByWord(FixedRouter):
    async def classify(self, text: str) -> Classification:
        self.label = "open_ticket" if "order" in text else "network"
        return await super().classify(text)


def stand_in() -> None:
    """Models that need no weights, and a router that needs no model."""
    models = Obedient()
    ModelSet.chat = lambda self, request: models.chat(request)  # type: ignore[method-assign]
    ModelSet.embed = lambda self, request: models.embed(request)  # type: ignore[method-assign]
    real = opening.open_workflow

    def opened(path: Any, **named: Any) -> Any:
        return real(path, **named, change=lambda services: replace(services, router=ByWord()))

    opening.open_workflow = opened


def main() -> None:
    written = Path(sys.argv[1])
    imported("guardrails")
    stand_in()
    for line in sys.stdin:
        asked = json.loads(line)
        status = carried_out(asked["command"], written, {"SLUICEGATE_HOME": asked["home"]})
        said = {name: (written / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")}
        print(json.dumps({"status": status, **said}), flush=True)


if __name__ == "__main__":
    main()
