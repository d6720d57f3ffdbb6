"""What branches, items and runs may cost at most, and its reservation before they begin."""
