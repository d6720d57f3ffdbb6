"""Fonts, as files of every format name them."""

__all__ = ["FIXED_WIDTH"]

FIXED_WIDTH = "mono|courier|consol|menlo|inconsolata|source ?code|fira ?code"
"""A pattern for the names of those in whose letters code is written, all of one width."""
