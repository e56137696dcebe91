"""The memory port, buses, and the engines that load and store."""
