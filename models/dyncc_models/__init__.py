"""Dynamic neural networks written in ordinary PyTorch.

Networks whose control flow depends on the data they are given. None of them mentions a compiler:
each is the ``nn.Module`` its paper describes, with Python ``if``, ``while``, ``break`` and early
``return``. They are what ``dyncc`` is developed and tested against: the nine of ``dycl``, and three
others.

Every network module offers the same three functions:

``build(seed=0)``
    The network in evaluation mode. The same seed gives the same weights, and the caller's random
    state is left alone.
``example_inputs()``
    One tuple of forward arguments.
``coverage_inputs(seed=0)``
    At most 48 tuples of forward arguments which together drive ``build(seed)`` through both
    sides of every data-dependent branch.

==================  ===============================================  ==============================
Module              Network                                          Source
==================  ===============================================  ==============================
``shallow_deep``    early exits, trained on the scikit-learn digits  Kaya et al., ICML 2019
``halting``         adaptive computation time                        Graves, arXiv:1603.08983, 2016
``pointer_network`` pointer decoder with a stop element              Vinyals et al., NeurIPS 2015
``dycl``            nine networks, listed there
==================  ===============================================  ==============================
"""

from __future__ import annotations

from dyncc_models import dycl

NETWORKS: tuple[str, ...] = (
    "shallow_deep",
    "halting",
    "pointer_network",
    *(f"dycl.{name}" for name in dycl.NETWORKS),
)
"""Names of the network modules, in the order of the tables."""

__all__ = ["NETWORKS"]
