"""Amaranth components of dyncc; none are written yet."""
