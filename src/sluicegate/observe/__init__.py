"""Observability: traces, exporters, the audit log, incidents."""
