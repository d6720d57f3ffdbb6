"""How good a workflow is, and whether another should take its place."""
