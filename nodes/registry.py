"""The registry of node kinds: the built-in ones and those of installed packages."""

import functools
from collections.abc import Mapping
from typing import get_args

from sluicegate.nodes.kind import Effect, NodeKind, Role
from sluicegate.nodes.kinds.answering import LLM_SYNTHESIZE, SLM_ANSWER, SUMMARIZE
from sluicegate.nodes.kinds.cache_lookup import CACHE_LOOKUP
from sluicegate.nodes.kinds.call_tool import CALL_TOOL
from sluicegate.nodes.kinds.classify import CLASSIFY
from sluicegate.nodes.kinds.condense import CONDENSE
from sluicegate.nodes.kinds.control.ask import ASK
from sluicegate.nodes.kinds.control.choice import CHOICE
from sluicegate.nodes.kinds.control.for_each import FOR_EACH
from sluicegate.nodes.kinds.control.parallel import PARALLEL
from sluicegate.nodes.kinds.control.receive_call import RECEIVE_CALL
from sluicegate.nodes.kinds.control.wait import WAIT
from sluicegate.nodes.kinds.control.workflow import WORKFLOW
from sluicegate.nodes.kinds.extract import EXTRACT
from sluicegate.nodes.kinds.human_interrupt import HUMAN_INTERRUPT
from sluicegate.nodes.kinds.output_check import OUTPUT_CHECK
from sluicegate.nodes.kinds.policy_check import POLICY_CHECK
from sluicegate.nodes.kinds.retrieve import RETRIEVE
from sluicegate.nodes.kinds.tag import TAG
from sluicegate.nodes.kinds.terminal import REFUSE, RESPOND
from sluicegate.plugins import with_installed

__all__ = ["BUILT_IN", "kinds"]

BUILT_IN = (
    CONDENSE,
    CLASSIFY,
    RECEIVE_CALL,
    TAG,
    POLICY_CHECK,
    CACHE_LOOKUP,
    RETRIEVE,
    SLM_ANSWER,
    LLM_SYNTHESIZE,
    EXTRACT,
    SUMMARIZE,
    CALL_TOOL,
    PARALLEL,
    CHOICE,
    OUTPUT_CHECK,
    HUMAN_INTERRUPT,
    ASK,
    WAIT,
    FOR_EACH,
    WORKFLOW,
    RESPOND,
    REFUSE,
)
"""In the order a reader meets them."""


@functools.cache
def kinds() -> Mapping[str, NodeKind]:
    """Every kind by name.

    Raises `ConfigError` SG110 when an installed plug-in is broken, or has a name that is taken or is an effect's: in a
    guarantee it would count as having that effect.
    """
    effects = (*get_args(Effect), *get_args(Role))
    return with_installed(
        BUILT_IN, group="sluicegate.nodes", of=NodeKind, code="SG110", what="node kind", reserved=effects
    )
