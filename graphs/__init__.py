"""From a config to a state graph, its proofs, its runs and its pictures."""
