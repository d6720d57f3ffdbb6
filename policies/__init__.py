"""Governance: Cedar policies, guards, the ledger, the answer cache, the kill switch."""
