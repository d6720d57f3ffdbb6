"""A workflow whose guards redact, who uses it, and the policies that say who sees the words again."""

from pathlib import Path
from typing import Any

import pytest

from sluicegate.graphs.runtime.factory import Opened, open_workflow
from sluicegate.graphs.runtime.intake import principal
from sluicegate.state import Principal
from tests.support.fakes import FakeModels, FakeRetriever, FakeRouter

OWN = "bob.builder@example.org"

WORKFLOW = """
workflow: desk
version: 1
purpose: Answers with personal data redacted.
models:
  slm: {use: "embedded:smollm2-135m"}
  embedder: {use: "embedded:all-minilm-l6-v2"}
intents:
  contact: {task: short-answer, risk: low, max_tokens: 60}
  risky:   {task: short-answer, risk: high, max_tokens: 60}
router: {strategy: slm}
cache: {answers: exact}
indexes: {kb: {path: knowledge}}
start: classify
nodes:
  classify: {kind: classify, then: gate}
  gate:
    kind: policy-check
    guards: [pii]
    then:
      - {when: "policy.verdict == 'deny'", go: refuse}
      - {otherwise: recall}
  recall: {kind: cache-lookup, then: [{when: "cache.hit && intent.risk == 'low'", go: respond}, {otherwise: facts}]}
  facts: {kind: retrieve, index: kb, then: answer}
  answer: {kind: slm-answer, prompt: answer, then: check}
  check:
    kind: output-check
    guards: [pii]
    then:
      - {when: "checks.failed", go: refuse}
      - {when: "intent.risk == 'high'", go: approve}
      - {otherwise: respond}
  approve:
    kind: human-interrupt
    approvers: role:lead
    then:
      - {when: "approval.verdict in ['approve', 'edit']", go: respond}
      - {otherwise: refuse}
  respond: {kind: respond}
  refuse: {kind: refuse}
guards: {pii: {action: redact}}
"""

LEADS = """
@id("desk.redacted.leads")
@reason("leads may see addresses, wherever they were found")
permit (principal, action == Action::"see_redacted", resource)
when { principal in Role::"lead" && context.kind == "email" };
"""

ANN, EVE, LEA = principal("ann", ["employee"]), principal("eve", ["employee"]), principal("lea", ["lead"])


class Desk:
    """A workflow that is opened anew for each command."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = folder / "workflow.yaml"
        self.models, self.router = FakeModels(), FakeRouter("contact")
        for name in ("prompts", "knowledge", "policies"):
            (folder / name).mkdir(parents=True)
        prompt = "---\nid: answer\nversion: 1\n---\n{{question}}{{sources}}{{feedback}}{{section}}\n"
        (folder / "prompts" / "answer.md").write_text(prompt, encoding="utf-8")
        self.file.write_text(WORKFLOW, encoding="utf-8")
        monkeypatch.setattr("sluicegate.graphs.runtime.factory.ModelSet", lambda _: self.models)
        monkeypatch.setattr("sluicegate.graphs.runtime.factory._router", lambda *_: self.router)
        monkeypatch.setattr("sluicegate.graphs.runtime.factory.LanceRetriever", lambda *_, **__: FakeRetriever())

    def policies(self, text: str) -> None:
        (self.file.parent / "policies" / "own.cedar").write_text(text, encoding="utf-8")

    def says(self, text: str) -> None:
        self.models.answers["slm"] = text

    def opened(self, **options: Any) -> Opened:
        return open_workflow(self.file, **options)

    async def ask(self, text: str, who: Principal = ANN, *, to: Principal | None = None) -> str:
        """The answer as `to` sees it, who asked by default."""
        opened = self.opened()
        outcome = await opened.runner.run(text, who)
        opened.tracer.close()
        return await opened.runner.shown(outcome, to or who)
