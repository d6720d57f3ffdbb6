"""A workflow on labelled rows: cases, scores, baselines, costs, kept results."""
