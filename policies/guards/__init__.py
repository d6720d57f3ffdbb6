"""Guards: checks on requests, on retrieved passages and on answers, run through guardrails-ai."""
