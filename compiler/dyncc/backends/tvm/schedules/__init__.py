"""Schedules: how the loops of one fused kernel run on a CPU.

Untuned, TVM's code is slower than eager torch by an order of magnitude; these schedules and the
weight layouts that `dyncc.backends.tvm.packing` chooses for them make up for that.
"""
