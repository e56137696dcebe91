r"""Integer twin of dynamic termination: when the scores of a run are clear enough to stop.

The scores :math:`v_k` are the potentials of the watched neurons after a step. With the best score
:math:`v_{max}`, the lowest of its neurons being the winner:

- *margin*: :math:`v_{max} - v_{second} \geq limit`; with one neuron, :math:`v_{max} \geq limit`.
- *softmax*: :math:`\sum_k table[(v_{max} - v_k) \gg shift] \leq limit`, where distances beyond the
  table add 0. With entries :math:`exp(-distance / \alpha)` and the limit :math:`1 / \theta` this is
  :math:`max\, softmax(v / \alpha) \geq \theta`, the confidence of Li, Jones and Furber (ICCV 2023),
  without a division.
"""

from __future__ import annotations

from dyncc.arch.fixed import Integers
from dyncc.arch.neurocorex import Termination, Test


def decide(rule: Termination, potentials: Integers, steps: int) -> tuple[bool, int]:
    """Whether the test holds after `steps` steps, and the winner.

    Parameters
    ----------
    potentials
        Of all neurons, int64 of shape (neurons,).

    Returns
    -------
    bool, int
        The winner counts from the first watched neuron.
    """
    scores = potentials[rule.first_class : rule.first_class + rule.class_count].tolist()
    winner = scores.index(max(scores))
    best = scores[winner]
    if rule.test == Test.MARGIN:
        others = scores[:winner] + scores[winner + 1 :]
        holds = best - max(others, default=0) >= rule.limit
    elif rule.test == Test.SOFTMAX:
        places = [(best - score) >> rule.shift for score in scores]
        holds = sum(rule.table[p] for p in places if p < len(rule.table)) <= rule.limit
    else:
        holds = False
    return holds and steps >= rule.least_steps, winner
