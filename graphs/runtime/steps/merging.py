"""What branches that ran side by side make of the state: `sluicegate.state.MERGED` says which concerns merge, this how.

A branch begins with a copy of the state at its fork and changes only that. So what comes of a fork depends on what each
branch did and on their order in the config, never on which was faster.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sluicegate.nodes.model_governance import no_spend
from sluicegate.state import BY_NAME, DocumentRef, Run, Spend, State, Tags

__all__ = ["changes", "merged", "without_results"]

_APPENDED = ("trail", "tool_calls")


def changes(before: State, after: State) -> dict[str, Any]:
    """What a branch has changed: new values, and of what is appended to the new part."""
    old, new = cast("Mapping[str, Any]", before), cast("Mapping[str, Any]", after)
    found = {key: value for key, value in new.items() if key != "branches" and old.get(key) != value}
    for key in _APPENDED:
        if key in found:
            found[key] = new[key][len(old.get(key, ())) :]
    return found


def merged(before: State, branches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The update of the state that the changes of branches come to, in this order."""
    update: dict[str, Any] = {}
    for changed in branches:
        update |= changed
    for key, merge in _MERGES.items():
        changed = [branch[key] for branch in branches if key in branch]
        if changed:
            update[key] = merge(before.get(key), changed)
    if "documents" in update or "earlier_documents" in update:
        now = {_passage(one) for one in update.get("documents", ())}
        earlier = [one for one in update.get("earlier_documents", ()) if _passage(one) not in now]
        if earlier:
            update["earlier_documents"] = earlier
    return update


def without_results(update: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of branches that failed: what they spent, called and visited, and why."""
    return {key: update[key] for key in ("run", "spend", "tool_calls", "failure", "trail") if key in update}


def _visits(before: Run, branches: Sequence[Run]) -> Run:
    visits = dict(before["visits"])
    for each in branches:
        for name, count in each["visits"].items():
            visits[name] = max(count, visits.get(name, 0))
    return {**before, "visits": visits}


def _spend(before: Spend | None, branches: Sequence[Spend]) -> Spend:
    base = {**no_spend(), **(before or {})}
    total: dict[str, Any] = dict(base)
    for each in branches:
        for key, value in each.items():
            if key not in ("stopped", "stopped_by"):
                total[key] += cast("float", value) - cast("float", base[key])
    total["stopped"] = any(each["stopped"] for each in branches)
    told = [each["stopped_by"] for each in branches if each["stopped_by"] != base["stopped_by"]]
    total["stopped_by"] = told[-1] if told else base["stopped_by"]
    return cast("Spend", total)


def _passages(before: Sequence[DocumentRef] | None, branches: Sequence[Sequence[DocumentRef]]) -> list[DocumentRef]:
    """Those that the branches have now, each once; what was there before the fork is in each that kept it."""
    del before
    return [*{_passage(one): one for each in branches for one in each}.values()]


def _passage(one: DocumentRef) -> tuple[Any, ...]:
    return one["id"], one["version"], one["hash"], *one["span"]


def _tags(before: Tags | None, branches: Sequence[Tags]) -> Tags:
    """Each tag as the last branch has left it that scored it."""
    scores, limits, found = dict[str, float](), dict[str, float](), set[str]()
    for each in [*([before] if before else []), *branches]:
        for tag, score in each["scores"].items():
            unchanged = before and before["scores"].get(tag) == score and tag in scores
            if not unchanged:
                scores[tag], limits[tag] = score, each["limits"][tag]
                (found.add if tag in each["found"] else found.discard)(tag)
    return {"found": sorted(found, key=lambda tag: -scores[tag]), "scores": scores, "limits": limits}


def _by_name(before: Mapping[str, Any] | None, branches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    base = before or {}
    new = {key: value for each in branches for key, value in each.items() if base.get(key, _by_name) != value}
    return {**base, **new}


def _appended(before: object, branches: Iterable[Sequence[Any]]) -> list[Any]:
    del before
    return [one for each in branches for one in each]


_MERGES: Mapping[str, Any] = {
    "run": _visits,
    "spend": _spend,
    "documents": _passages,
    "earlier_documents": _passages,
    "tags": _tags,
    "tool_calls": _appended,
    "trail": _appended,
    **dict.fromkeys(BY_NAME, _by_name),
}
"""How a concern merges; of `failure`, and of what one branch alone may write, the last one stands."""
