"""Proofs in words: the nodes and intents that keep a guarantee, of the workflow at hand."""

from pathlib import Path

import pytest

from sluicegate.graphs.config.check import told_guarantees
from sluicegate.graphs.config.load import load

CONFIGS = Path("configs")


def because(workflow: str, guarantee: str) -> tuple[str, str]:
    found = {
        one.guarantee.name or str(one.guarantee): (one.state, one.because)
        for one in told_guarantees(load(CONFIGS / workflow / "workflow.yaml"))
    }
    return found[guarantee]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workflow", "guarantee", "state", "words"),
    [
        ("helpdesk", "policy-first", "proved",
         "every path to recall, answer, synthesize, fallback, digest, details or act passes gate first"),
        ("patterns/6-human-handoff", "no respond or call-tool without human-interrupt when intent.risk == 'high'",
         "proved", "every path to act or respond passes approve first, for access and security_incident"),
        ("helpdesk", "rejections-hold", "proved",
         "after approve, left where !(approval.verdict in ['approve', 'edit']), no path leads to act or respond"),
        ("helpdesk", "replies-decided", "nothing to prove", "it has no node that asks the requester"),
        ("patterns/2-policy-gate",
         "no generates or retrieves without human-interrupt when intent.label == 'personal_data'",
         "proved", "no path leads to facts or answer, for personal_data"),
        ("patterns/5-two-pass-check", "every slm-answer reaches output-check", "proved",
         "every path from draft or again to an end passes check"),
        # what a child checks covers only what the child does
        ("patterns/9-claims-intake", "replies-classified", "proved",
         "after ask every path to answer, read, kyc, assess, open or respond passes classify first; "  # noqa: ISC004
         "what happens within kyc may be covered there"),
    ],
)  # fmt: skip
def test_a_guarantee_names_the_nodes_that_keep_it(workflow: str, guarantee: str, state: str, words: str) -> None:
    assert because(workflow, guarantee) == (state, words)


def test_a_waived_one_gives_its_reason(tmp_path: Path) -> None:
    base = (CONFIGS / "patterns/6-human-handoff/workflow.yaml").resolve()
    waiver = "{guarantee: approvals-cover, reason: a lead approves every ticket by hand}"
    (tmp_path / "workflow.yaml").write_text(f"extends: {base}\nwaive: [{waiver}]\n")
    told = {one.guarantee.name: one for one in told_guarantees(load(tmp_path / "workflow.yaml"))}
    assert (told["approvals-cover"].state, told["approvals-cover"].because) == (
        "waived", "a lead approves every ticket by hand"
    )  # fmt: skip
