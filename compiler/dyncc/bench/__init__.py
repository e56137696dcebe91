"""Compares what dyncc makes of a network with what else a user could run it with.

::

    workshop (a process)    builds the network, finds its paths, compiles and exports it
    runners (one for each)  load what was built, answer, and are timed, in turns
    session                 leads them, and writes down what it sees: `record`
    results, page, ...      from the record to ratios, plots, tables

A *subject* is what is compared on: a network, or an operation. A *peer* is a way to run it: eager
PyTorch, torch.compile, ONNX Runtime, and dyncc itself. Each peer runs in a process of its own, so
that no thread pool gets into the way of another's, memory can be told apart, and a crash ends one
peer only. The process that leads them computes nothing while they are timed.
"""
