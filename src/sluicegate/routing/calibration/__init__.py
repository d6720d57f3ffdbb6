"""Confidence that means how often it is right, and thresholds with a proved error bound."""
