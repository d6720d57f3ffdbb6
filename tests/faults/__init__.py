"""Faults: kills, full and read-only disks, locks."""
