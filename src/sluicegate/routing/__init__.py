"""Which intent, how sure, and from which confidence on the small model may answer."""
