"""Monitoring of a fitted router: report, plots, drift."""
