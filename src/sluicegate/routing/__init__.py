"""Routing: intents, calibrated confidence, and the thresholds from which the small model may answer."""
