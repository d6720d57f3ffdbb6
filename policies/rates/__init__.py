"""How often models are called and people may ask: rates, and the rows that all processes count by."""
