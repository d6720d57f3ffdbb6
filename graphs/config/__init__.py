"""The config language: from a file to a checked workflow, with a place for every key and every error."""
