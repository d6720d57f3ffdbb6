"""Evaluation on labelled rows: cases, scores, baselines, costs, stored results."""
