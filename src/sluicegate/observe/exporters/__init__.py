"""Copies of traces for Langfuse and OTLP collectors."""
