"""Test benches and simulators of the hardware in ``dyncc_hw``.

Nothing is here yet: this release compiles to the CPU only. The package fixes the place; benches
may import all of the other packages, and none of those imports a bench.
"""
