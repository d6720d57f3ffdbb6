"""Evaluations as Langfuse datasets and experiments, so that runs of a workflow's versions compare there.

The evaluation is over when this is called: the experiment's task only returns what was recorded. What the runs took,
what they cost and their scores are sent by our own exporter: the SDK would give the time of the task, and its version 5
loses scores on servers before 4.59.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluicegate.errors import RunError
from sluicegate.observe.exporters.export import SendError
from sluicegate.observe.exporters.langfuse import Keys, LangfuseSender, sdk, server_state
from sluicegate.observe.tracing.spans import Record, RunInfo, Score, Trace, new_id, trace_id

__all__ = ["Evaluated", "Experiment", "ready_to_send", "send_experiment"]

_ENVIRONMENT = "sdk-experiment"
"""The one to which the SDK's experiments belong."""
_AT_ONCE = 100
"""Items in a request."""


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
    seconds: float = 0.0
    """How long that took."""
    usd: float = 0.0
    model: str = ""
    """The model that answered."""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Experiment:
    url: str
    """URL of the experiment; empty when the server did not give one."""
    items: int


def ready_to_send(keys: Keys | None = None) -> Keys:
    """The keys of a server that is well, before work that would be sent there. Raises as `send_experiment` does."""
    keys = keys or Keys.configured()
    if keys is None:
        raise RunError("SG613", "no Langfuse keys are set", hint="Set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
    state = server_state(keys)
    if not state.reachable:
        raise RunError("SG614", f"Langfuse at {keys.host}: {state.reason}", hint="Retry when the server is healthy")
    return keys


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
    keys = ready_to_send(keys)
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
        result, observations = _record(client, dataset, name, items, description, dict(metadata or {}))
        client.flush()
        _send_measured(keys, dataset, items, result, observations)
    except Exception as error:
        raise RunError("SG614", f"Langfuse at {keys.host}: {type(error).__name__}: {error}"[:400]) from error
    # SDK 5 warns of the name that SDK 4 has
    url = "experiment_url" if hasattr(result, "experiment_url") else "dataset_run_url"
    return Experiment(str(getattr(result, url, "") or ""), len(result.item_results))


def _record(
    client: Any,
    dataset: str,
    name: str,
    items: Sequence[Evaluated],
    description: str,
    metadata: dict[str, str],
) -> tuple[Any, dict[str, str]]:
    """The SDK's result, and the id of each item's observation."""
    by_id = {item.id: item for item in items}
    observations: dict[str, str] = {}

    def task(*, item: Any, **_: Any) -> Any:
        recorded = by_id[item.id]
        observations[item.id] = client.get_current_observation_id() or ""
        client.update_current_span(
            metadata={"run": recorded.run, "trace": client.get_trace_url(trace_id=trace_id(recorded.run)) or ""}
        )
        return recorded.output

    found = client.get_dataset(dataset)
    result = client.run_experiment(
        name=name,
        run_name=name,
        description=description or None,
        data=[item for item in found.items if item.id in by_id],
        task=task,
        max_concurrency=4,
        metadata=metadata,
    )
    return result, observations


def _send_measured(keys: Keys, dataset: str, items: Sequence[Evaluated], result: Any, at: Mapping[str, str]) -> None:
    """What each run took and cost, as an observation under its item's, and its scores on that. Raises `SendError`."""
    by_id, now = {item.id: item for item in items}, time.time_ns()
    traces: list[Trace] = []
    for each in result.item_results:
        item = by_id[each.item.id]
        info = RunInfo(item.run, each.trace_id, dataset, "", "", "", "", _ENVIRONMENT, "", False, tags=["experiment"])
        took = Record(
            new_id(),
            at[item.id],
            "recorded run",
            "generation",
            {"model": item.model, "output": item.output, "usd": item.usd},
            start_ns=now,
            end_ns=now + int(item.seconds * 1e9),
        )
        scores = [
            Score(new_id(), item.run, key, value, "", now, observation=at[item.id])
            for key, value in item.scores.items()
        ]
        traces.append(Trace(info, [took], scores))
    sender = LangfuseSender(keys)
    try:
        for start in range(0, len(traces), _AT_ONCE):
            if refused := sender.send(traces[start : start + _AT_ONCE]):
                raise SendError(refused.reason)
    finally:
        sender.close()
