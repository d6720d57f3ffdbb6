"""Documents in languages that their index's embedder does not know: what `ingest` and `doctor` warn of."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluicegate.errors import Problem
    from sluicegate.graphs.config.load import Workflow
    from sluicegate.retrieval.catalog import Catalog, IndexHead

__all__ = ["unknown_languages"]


def unknown_languages(workflow: "Workflow", index: str, catalog: "Catalog", head: "IndexHead") -> "Problem | None":
    """SG405 with each such language and its documents; None without any, or where nobody says what the model knows.

    The model is the one that embedded the index, which may be a fallback of the one that the workflow names.
    """
    from sluicegate.errors import Problem
    from sluicegate.models.config import resolve
    from sluicegate.models.embedded.pinned import WEIGHTS, known_languages

    role = workflow.config.indexes[index].embedder
    used = dict(resolve(workflow.config.models, role)).get(head.embedder)
    known = known_languages(used) if used else frozenset[str]()
    counts = {code: count for code, count in catalog.languages().items() if code not in known}
    if not (known and counts):
        return None
    total, named = sum(counts.values()), ", ".join(f"{code} ({count})" for code, count in counts.items())
    documents = "1 document is in a language" if total == 1 else f"{total} documents are in languages"
    able = [f"embedded:{name}" for name, weight in WEIGHTS.items() if counts.keys() <= weight.languages]
    such_as = f", such as {' or '.join(able)}" if able else ""
    return Problem(
        "SG405",
        f"index {index!r}: {documents} that {head.embedder} does not know: {named}",
        hint="Questions will rarely find what they say in other words. Set the index's `embedder` to a model that "
        f"knows them{such_as}, and run `sluicegate ingest --rebuild`",
        severity="warning",
    )
