"""The NeuroCoreX spiking core; `core.Core` puts the parts together."""
