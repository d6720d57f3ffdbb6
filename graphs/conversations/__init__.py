"""Conversations: the turns that one person takes in a workflow, in order, each of them a run."""
