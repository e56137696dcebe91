"""SkipOPU in Amaranth: the arithmetic of its engines, bit for bit that of the integer twins."""
