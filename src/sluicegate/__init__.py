"""Governed workflows of small and large language models."""
