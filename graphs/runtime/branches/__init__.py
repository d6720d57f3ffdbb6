"""Branches that run side by side: each as a graph of its own, and what they make of the state."""
