"""Calibrated confidence, and thresholds with a proved error bound."""
