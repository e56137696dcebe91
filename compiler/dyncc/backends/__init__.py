"""Back ends: each turns the regions of a program into code; only they import tvm and torch kernels."""
