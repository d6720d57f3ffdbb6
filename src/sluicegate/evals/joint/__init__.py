"""What a workflow does with labelled requests under every choice of its thresholds, without a model."""
