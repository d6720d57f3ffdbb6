"""Evaluation of workflows, shadow runs and promotion."""
