"""Node kinds that run more than one step: other nodes, or other workflows."""
