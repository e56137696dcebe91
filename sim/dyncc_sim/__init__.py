"""Benches of the hardware in ``dyncc_hw``: cocotb tests, drivers, and what runs them.

``xxx_bench.py`` runs inside of the simulator, `runner` starts it from pytest.
"""
