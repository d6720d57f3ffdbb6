"""Approval links."""
