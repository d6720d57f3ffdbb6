"""A challenger beside the champion: offered runs, pairs, backfill."""
