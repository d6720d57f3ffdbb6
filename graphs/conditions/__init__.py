"""Conditions: CEL over the fields of the state, type-checked once, with three values."""
