"""Approval decisions as graded answers: rows for `sluicegate router fit --task answer`.

An approved draft was right, a rejected one wrong, an edited one wrong with the edit as the right answer. The store
has the features of the draft's confidence, so a row needs neither the model nor the sources again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sluicegate.observe.tracing.store import Store

__all__ = ["decided_drafts"]

_HASHED = "hmac:"
"""Prefixes of texts that a trace did not keep (`Masking`)."""


def decided_drafts(
    store: Store,
    workflow: str,
    *,
    since_ns: int = 0,
    withheld: Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], str] = lambda _run, _spans: "",
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """One row for each decision on an answer of the small model, oldest first, and what was left out, by reason.

    Only finished runs. Left out: runs that are `withheld` from who exports; drafts that no `slm-answer` node wrote,
    which no confidence is fitted to; decisions in sub-workflows, which are about these workflows' drafts; timeouts,
    which say nothing about the draft; and decisions whose texts or features the trace did not keep.
    """
    rows: list[dict[str, Any]] = []
    left: Counter[str] = Counter()
    for run in store.decided_runs(workflow, since_ns=since_ns):
        spans = store.spans(run["run_id"])
        hidden = "the reader may not read all of its sources" if withheld(store.run(run["run_id"]), spans) else ""
        for verdict, draft in _decisions(spans):
            reason = hidden or _unusable(run, verdict, draft)
            if reason:
                left[reason] += 1
                continue
            said = verdict["approval"]
            row = {
                "run": run["run_id"],
                "question": run["request"],
                "answer": draft["output"],
                "right": said == "approve",
                "model": draft["model"],
                "features": draft["features"],
                "verdict": said,
                "reason": verdict["approval_reason"],
            }
            rows.append({**row, "right_answer": verdict["output"]} if said == "edit" else row)
    return rows, left


def _decisions(spans: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each decision's observation, with that of the draft at the time of the approval."""
    draft: dict[str, Any] = {}
    for span in spans:
        said = span["attributes"]
        if "node" not in said:
            continue  # the run's own observation repeats its nodes'
        if "/" in said["node"]:
            continue  # a sub-workflow's, about drafts of its own
        if "approval" in said and said["kind"] != "workflow":
            yield said, draft
        if "output" in said:
            # a redacting check changes the text, not its author
            kind = draft.get("kind") if said["kind"] == "output-check" else said["kind"]
            draft = {**said, "kind": kind}


def _unusable(run: dict[str, Any], verdict: dict[str, Any], draft: dict[str, Any]) -> str:
    if verdict["approval"] == "timeout":
        return "nobody decided in time"
    if draft.get("kind") != "slm-answer" or not draft.get("model"):
        return "the draft is no answer of the small model"
    if not draft.get("features"):
        return "the draft's features were not recorded"
    texts = [run["request"], draft["output"], *([verdict.get("output")] if verdict["approval"] == "edit" else [])]
    if not all(text and not text.startswith(_HASHED) for text in texts):
        return "the texts were not kept"
    return ""
