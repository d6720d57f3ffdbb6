"""Kinds that visit other nodes."""
