"""Evaluations and verdicts as pages, plots and JUnit XML."""
