"""Links by which one person decides on one waiting run, once, without signing in."""
