"""Formal proofs of properties of the hardware, with SymbiYosys.

``python -m dyncc_sim.formal`` proves them and prints a table. To add a property, write a function
that fills a `dyncc_sim.formal.design.Design`, and put a `dyncc_sim.formal.prover.Property` into the
list of its module.
"""
