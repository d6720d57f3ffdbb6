"""Where plug-ins written for 0.1.0 import `said` from; today it is public, as `sluicegate.said`."""

from sluicegate.nodes.writing.generation import said

__all__ = ["said"]
