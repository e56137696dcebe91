"""Benches of the hardware: what they play, and what has to come out."""
