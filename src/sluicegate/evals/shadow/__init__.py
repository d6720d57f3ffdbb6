"""Shadow mode: offered runs, pairs, backfill."""
