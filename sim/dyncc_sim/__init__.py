"""Simulation benches of dyncc; none are written yet."""
