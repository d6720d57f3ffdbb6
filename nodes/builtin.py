"""The built-in kinds, in the order a reader meets them."""

from sluicegate.nodes.answering import LLM_SYNTHESIZE, SLM_ANSWER, SUMMARIZE
from sluicegate.nodes.cache_lookup import CACHE_LOOKUP
from sluicegate.nodes.call_tool import CALL_TOOL
from sluicegate.nodes.classify import CLASSIFY
from sluicegate.nodes.ends import REFUSE, RESPOND
from sluicegate.nodes.extract import EXTRACT
from sluicegate.nodes.human_interrupt import HUMAN_INTERRUPT
from sluicegate.nodes.output_check import OUTPUT_CHECK
from sluicegate.nodes.policy_check import POLICY_CHECK
from sluicegate.nodes.retrieve import RETRIEVE
from sluicegate.nodes.tag import TAG

__all__ = ["BUILT_IN"]

BUILT_IN = (
    CLASSIFY,
    TAG,
    POLICY_CHECK,
    CACHE_LOOKUP,
    RETRIEVE,
    SLM_ANSWER,
    LLM_SYNTHESIZE,
    EXTRACT,
    SUMMARIZE,
    CALL_TOOL,
    OUTPUT_CHECK,
    HUMAN_INTERRUPT,
    RESPOND,
    REFUSE,
)
