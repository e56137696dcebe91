"""Spiking neurons: float reference models, integer twins of the NeuroCoreX core, and learning."""
