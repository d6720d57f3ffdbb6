"""Evaluations as Langfuse datasets and experiments, so that runs of a workflow's versions compare there.

The evaluation is over when this is called: the experiment's task only returns what was recorded.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.errors import RunError
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender, ServerState, loses_scores, sdk, server_state
from sluicegate.observe.tracing.spans import RunInfo, Score, Trace, new_id

__all__ = ["Evaluated", "Experiment", "ready_to_send", "send_experiment"]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One labelled request with its result and scores."""

    id: str
    """Stable over evaluations, so that they share the dataset's item."""
    input: str
    expected: Any
    output: Any
    scores: Mapping[str, float | bool | str]
    run: str = ""
    """The run's id, to find its own trace by."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Experiment:
    url: str
    """URL of the experiment; empty when the server did not give one."""
    items: int
    warning: str = ""


def ready_to_send(keys: Keys | None = None) -> tuple[Keys, ServerState]:
    """The keys and what the server says, before work that would be sent there. Raises as `send_experiment` does."""
    keys = keys or Keys.configured()
    if keys is None:
        raise RunError("SG613", "no Langfuse keys are set", hint="Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
    state = server_state(keys)
    if not state.reachable:
        raise RunError("SG614", f"Langfuse at {keys.host}: {state.reason}", hint="Retry when the server is healthy")
    return keys, state


def send_experiment(
    dataset: str,
    name: str,
    items: Sequence[Evaluated],
    *,
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    keys: Keys | None = None,
) -> Experiment:
    """Put the items into the dataset `dataset`, created when absent, and record the evaluation `name` on it.

    Blocks for as long as the server takes. Raises `RunError` SG613 (no keys) or SG614 (the server failed or refused).
    """
    keys, state = ready_to_send(keys)
    warning = loses_scores(state)
    client = sdk(keys)
    try:
        client.create_dataset(name=dataset, description=description)
        for item in items:
            client.create_dataset_item(
                dataset_name=dataset,
                id=item.id,
                input=item.input,
                expected_output=item.expected,
                metadata={**item.metadata, "item": item.id},
            )
        result = _record(client, dataset, name, items, description, dict(metadata or {}), evaluate=not warning)
    except Exception as error:
        raise RunError("SG614", f"Langfuse at {keys.host}: {type(error).__name__}: {error}"[:400]) from error
    if warning:
        _send_scores(keys, items, result)
    # SDK 5 warns of the name that SDK 4 has
    url = "experiment_url" if hasattr(result, "experiment_url") else "dataset_run_url"
    return Experiment(str(getattr(result, url, "") or ""), len(result.item_results), warning)


def _record(
    client: Any,
    dataset: str,
    name: str,
    items: Sequence[Evaluated],
    description: str,
    metadata: dict[str, str],
    *,
    evaluate: bool,
) -> Any:
    from langfuse import Evaluation

    by_id = {item.id: item for item in items}

    def task(*, item: Any, **_: Any) -> Any:
        recorded = by_id[item.id]
        client.update_current_span(metadata={"run": recorded.run})
        return recorded.output

    def scores(*, metadata: Mapping[str, str], **_: Any) -> Any:
        return [Evaluation(**_typed(name, value)) for name, value in by_id[metadata["item"]].scores.items()]

    found = client.get_dataset(dataset)
    return client.run_experiment(
        name=name,
        run_name=name,
        description=description or None,
        data=[item for item in found.items if item.id in by_id],
        task=task,
        evaluators=[scores] if evaluate else [],
        max_concurrency=4,
        metadata=metadata,
    )


def _send_scores(keys: Keys, items: Sequence[Evaluated], result: Any) -> None:
    """The scores by our own exporter, where the SDK's would be lost."""
    by_id = {item.id: item for item in items}
    sender = LangfuseSender(keys)
    for each in result.item_results:
        recorded = by_id[each.item.id]
        info = RunInfo(recorded.id, each.trace_id, "", "", "", "", "", "default", "", False)
        scores = [
            Score(new_id(), recorded.id, key, value, "", time.time_ns()) for key, value in recorded.scores.items()
        ]
        sender.send([Trace(info, [], scores)])
    sender.close()


def _typed(name: str, value: float | bool | str) -> dict[str, Any]:
    """A score as the SDK wants it: truth as 0 or 1, with its type."""
    if isinstance(value, bool):
        return {"name": name, "value": int(value), "data_type": "BOOLEAN"}
    return {"name": name, "value": value, "data_type": "CATEGORICAL" if isinstance(value, str) else "NUMERIC"}
