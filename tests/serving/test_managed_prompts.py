"""A service follows a prompt that is managed in Langfuse, as a new version of its workflow."""

import shutil
from pathlib import Path

import pytest

from sluicegate.errors import RunError
from sluicegate.graphs.runtime.intake import principal
from sluicegate.graphs.runtime.versions import kept
from sluicegate.serving import service as serving
from sluicegate.serving.versions import Versions
from tests.support import stand
from tests.support.receiver import PUBLIC, SECRET, Receiver, forget_clients
from tests.support.waiting import soon

ANN, LEAD = principal("ann", ["employee"]), principal("lea", ["helpdesk-lead"])


def publish(server: Receiver, version: int, text: str) -> None:
    server.prompts["desk-answer", "production"] = {
        "name": "desk-answer", "version": version, "type": "text", "prompt": text, "config": {},
        "labels": ["production"], "tags": [], "commitMessage": None, "resolutionGraph": None,
    }  # fmt: skip


@pytest.mark.slow
async def test_a_new_version_serves_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_PROMPTS_S", 0.2)
    looks, real = list[int](), Versions.refresh_prompts

    def look(self: Versions) -> None:
        real(self)
        looks.append(len(looks))

    async def looked() -> None:
        """One look has begun and ended since."""
        before = len(looks)
        await soon(lambda: len(looks) > before + 1)

    monkeypatch.setattr(Versions, "refresh_prompts", look)
    folder = shutil.copytree(stand.WORKFLOW, tmp_path / "flow")
    (folder / "prompts" / "answer.md").write_text("---\nid: answer\nlangfuse: desk-answer\n---\n{{question}}")
    forget_clients()
    with Receiver() as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", PUBLIC)
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", SECRET)
        monkeypatch.setenv("LANGFUSE_BASE_URL", server.url)
        publish(server, 1, "One: {{question}}")
        async with stand.service(folder / "workflow.yaml") as service:
            first = service.versions.serving.workflow
            waits = [await service.ask(f"access please {number}", ANN) for number in range(2)]
            server.status = 500
            publish(server, 2, "Two: {{question}} {{nobody}}")
            await looked()
            assert service.versions.serving.workflow is first
            server.status = 0
            await looked()
            # nothing fills a placeholder of version 2
            assert service.versions.serving.workflow is first
            publish(server, 3, "Three: {{question}}")
            await soon(lambda: service.versions.serving.workflow is not first)
            second = service.versions.serving.workflow
            assert second.resolved.prompts["answer"].version == "langfuse:desk-answer@3"
            answered = await service.ask("Who?", ANN)
            assert answered.state["run"]["digest"] == second.digest
            # what waited is treated as after an edit of a file
            with pytest.raises(RunError, match="SG604"):
                await service.decide(waits[0].run, "approve", LEAD)
            done = await service.decide(waits[0].run, "approve", LEAD, changed="kept")
            assert (done.status, done.state["run"]["digest"]) == ("answered", first.digest)
            assert "One: " in (kept(first.digest).parent / "prompts" / "answer.md").read_text()
    forget_clients()
