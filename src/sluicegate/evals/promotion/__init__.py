"""Promotion: pre-registered plans, gates, confidence sequences, and the pointer to the champion."""
