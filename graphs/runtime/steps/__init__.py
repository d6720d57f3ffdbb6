"""What a step of a run does beside its node: branches, items, sub-workflows, streaming."""
