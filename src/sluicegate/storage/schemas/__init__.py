"""What is stored where: every SQLite file and every PostgreSQL table, with the steps of its format.

| store | in the home | on a server |
| --- | --- | --- |
| `CHECKPOINTS`, `APPROVALS`, `TOOL_CALLS`, `RECOVERED` | ``checkpoints``, ``approvals``, ``tools``, ``serving`` | yes |
| `CONVERSATIONS` | ``conversations`` | yes |
| `LEDGER`, `RATES` | ``ledger``, ``rates`` | yes |
| `PAYLOADS` | ``audit/payloads`` | yes |
| `WEBHOOKS` | ``webhooks`` | yes |
| `LEFT_RUNS`, `VERSIONS` | (``serving``, ``versions/``) | only there |
| `DOCUMENTS` | (``switches.json``, ``champions/``) | only there |
| `AUDIT` | (``audit/``, as files) | also there |
| `INCIDENTS`, `CACHE` | ``incidents``, ``cache`` | yes |
| `TRACES` | ``store`` | no |
| `SHARED_TRACES`, `UNSENT` | (``store``), ``unsent`` | only there, no |
| `TICKETS`, `PROBES` | ``tickets``, ``probes`` | no |
| `RESULTS`, `SHADOW` | ``evals/results``, ``shadow`` | yes |
| `CATALOG` | ``indexes/NAME/catalog``, ``replicas/STORE/VERSION/catalog`` | no |
| `EMBEDDINGS` | (``embeddings`` in the user's cache) | no |
"""

from sluicegate.storage.schemas.announcements import WEBHOOKS
from sluicegate.storage.schemas.audit import AUDIT
from sluicegate.storage.schemas.comparisons import RESULTS, SHADOW
from sluicegate.storage.schemas.knowledge import CACHE, CATALOG, EMBEDDINGS, PROBES
from sluicegate.storage.schemas.money import LEDGER
from sluicegate.storage.schemas.observations import INCIDENTS, PAYLOADS, SHARED_TRACES, TRACES, UNSENT
from sluicegate.storage.schemas.rates import RATES
from sluicegate.storage.schemas.runs import (
    APPROVALS,
    CHECKPOINTS,
    CONVERSATIONS,
    DOCUMENTS,
    LEFT_RUNS,
    RECOVERED,
    TICKETS,
    TOOL_CALLS,
    VERSIONS,
)

__all__ = [
    "APPROVALS",
    "AUDIT",
    "CACHE",
    "CATALOG",
    "CHECKPOINTS",
    "CONVERSATIONS",
    "DOCUMENTS",
    "EMBEDDINGS",
    "INCIDENTS",
    "LEDGER",
    "LEFT_RUNS",
    "PAYLOADS",
    "PROBES",
    "RATES",
    "RECOVERED",
    "RESULTS",
    "SHADOW",
    "SHARED_TRACES",
    "TICKETS",
    "TOOL_CALLS",
    "TRACES",
    "UNSENT",
    "VERSIONS",
    "WEBHOOKS",
]
