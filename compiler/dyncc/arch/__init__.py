"""Contracts between compiler, models, hardware and simulation: specs, layouts, number formats."""
