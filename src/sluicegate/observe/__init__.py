"""What happened: traces, exporters, the audit log, incidents."""
