"""Amaranth components for the accelerators that dyncc will compile to.

Nothing is here yet: this release compiles to the CPU only. The package fixes the place and the
import rules, which are that hardware reads ``dyncc.core`` and ``dyncc.arch`` and needs neither
torch nor tvm.
"""
