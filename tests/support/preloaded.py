"""What the process is that others are forked from: everything is imported, and nothing is opened."""

from sluicegate.policies.guards.library import guardrails
from tests.support import machine, stand

__all__ = ["machine", "stand"]

guardrails()
