"""What may be asked, said and spent: Cedar policies, guards, the ledger, the answer cache, the kill switch."""
