"""Amaranth components for the accelerators that dyncc compiles to.

Hardware reads ``dyncc.core`` and ``dyncc.arch`` and needs neither torch nor tvm. Each component
has an integer twin in ``dyncc_models`` with the same bits.
"""
