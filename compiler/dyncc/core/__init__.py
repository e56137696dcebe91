"""Errors, external tools, files: what every other part of dyncc stands on (standard library only)."""
