"""SkipOPU: the overlay processor that skips layers token by token.

The one contract between the compiler, the integer twin, the simulator and the hardware.
"""
