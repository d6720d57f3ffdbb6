"""A run's observations: opened, masked, recorded, kept in the local store."""
