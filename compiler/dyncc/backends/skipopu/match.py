"""From a program to the plan of a decoder: whether the overlay runs it, and with which weights.

The expression that the program returns is taken apart from its end: the output matrix, the last
norm, then layer by layer down to the embedding. Everything must be as it is expected, the order of
heads and what each token attends to included; what is not is named with its layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy

from dyncc.backends.skipopu.expressions import Expr, Outcome, expressions
from dyncc.backends.skipopu.plan import DecoderPlan, LayerPlan
from dyncc.core.errors import Diagnostic, UnsupportedError
from dyncc.ir.hcfg import Hcfg

_END = 2**63 - 1


def match(program: Hcfg, weights: Mapping[str, Any]) -> DecoderPlan:
    """The plan of a program.

    Parameters
    ----------
    weights
        Arrays by name; constants among them are looked at.

    Raises
    ------
    UnsupportedError
        If the program is no Llama-style decoder of one token; says where it differs.
    """
    return _Matcher(program, weights, expressions(program)).plan()


@dataclass(frozen=True)
class _Rope:
    """A turned projection: its weight and input, the base, numbers of a head."""

    weight: str
    source: Expr
    base: float
    head_size: int


class _Matcher:
    def __init__(self, program: Hcfg, weights: Mapping[str, Any], outcome: Outcome) -> None:
        self._program, self._weights, self._outcome = program, weights, outcome
        self._layer: int | None = None
        self._policies: set[str] = set()
        self._base: float | None = None
        self._eps: set[float] = set()
        self._sizes: dict[str, int] = {}
        #: What the layer above took from the one below: states, and the keys and values that it
        #: falls back on.
        self._states: dict[str, Expr] = {}
        self._names: dict[str, str] = {}
        self._before: dict[str, Expr | None] = {"keys": None, "values": None}

    def plan(self) -> DecoderPlan:
        result = self._expect(self._outcome.result, "select", "logits of the one token")
        normed, embedding = self._linear(result.args[0], "the output matrix")
        x, norm = self._norm(normed, "the last norm")
        found: list[LayerPlan] = []
        if x.op not in ("phi", "add", "embedding"):
            self._fail("the last layer", f"expected a sum, or one of two ways, found {x}")
        self._layer = self._count(x) - 1
        last = self._layer
        while x.op != "embedding":
            layer, x = self._decoder_layer(x)
            found.insert(0, layer)
            assert self._layer is not None
            self._layer -= 1
        self._layer = None
        self._check_start(x, embedding)
        vocabulary, width = self._shape(embedding)
        sizes = self._sizes
        if len(self._eps) != 1:
            self._fail("norms", f"eps differs: {sorted(self._eps)}")
        if len(self._policies) > 1:
            self._fail("keys and values", f"layers differ in policy: {sorted(self._policies)}")
        assert last == len(found) - 1
        return DecoderPlan(
            width=width, hidden=sizes["hidden"], heads=sizes["heads"], kv_heads=sizes["kv_heads"],
            head_size=sizes["head_size"], vocabulary=vocabulary, context=sizes["context"],
            rope_base=self._base or 0.0, eps=self._eps.pop(),
            policy=self._policies.pop() if self._policies else "dense",
            embedding=embedding, norm=norm, layers=tuple(found),
        )  # fmt: skip

    # --- a layer ------------------------------------------------------------------------------

    def _decoder_layer(self, y: Expr) -> tuple[LayerPlan, Expr]:
        mlp_condition, ran, h = self._gated(y, "the MLP")
        mixed, down = self._linear(self._residual(ran, h, "the MLP"), "the MLP's last product")
        product = self._expect(mixed, "mul", "SwiGLU")
        normed, gate = self._linear(self._expect(product.args[0], "silu", "SwiGLU").args[0], "gate")
        same, up = self._linear(product.args[1], "up")
        self._same(normed, same, "the inputs of gate and up")
        source, norm_mlp = self._norm(normed, "the MLP's norm")
        self._same(source, h, "the input of the MLP's norm")
        self._size("hidden", self._shape(gate)[0])

        condition, ran, x = self._gated(h, "attention")
        attended, output = self._linear(self._residual(ran, x, "attention"), "attention's output")
        q, normed = self._attention(attended, condition)
        source, norm_attention = self._norm(normed, "attention's norm")
        self._same(source, x, "the input of attention's norm")
        plan = LayerPlan(
            norm_attention, q, self._names["k"], self._names["v"], output, norm_mlp, gate, up, down
        )
        if condition is not None:
            plan = replace(plan, router_attention=self._router(condition, x))
        if mlp_condition is not None:
            plan = replace(plan, router_mlp=self._router(mlp_condition, x))
        return plan, x

    def _gated(self, y: Expr, what: str) -> tuple[Expr | None, Expr, Expr]:
        """Condition, result if the sublayer runs, and what goes in."""
        if y.op == "phi":
            condition, ran, skipped = y.args
            return condition, ran, skipped
        added = self._expect(y, "add", f"{what} added to the residual")
        return None, added, added.args[0]

    def _residual(self, ran: Expr, x: Expr, what: str) -> Expr:
        added = self._expect(ran, "add", f"{what} added to the residual")
        self._same(added.args[0], x, f"the residual of {what}")
        found: Expr = added.args[1]
        return found

    def _router(self, condition: Expr, x: Expr) -> str:
        compared = self._expect(condition, "gt", "a router's decision")
        rows = []
        for side, wanted in zip(compared.args, (1, 0), strict=True):
            chosen = self._expect(side, "select", "a router's logit")
            if chosen.args[1:] != (0, wanted):
                self._fail("a router", "it runs where row 1 is above row 0, and nothing else")
            rows.append(self._expect(chosen.args[0], "select", "a router's logits"))
        self._same(rows[0], rows[1], "the logits of a router")
        source, weight = self._linear(rows[0].args[0], "a router")
        self._same(source, x, "the input of a router, which is that of the layer")
        if self._shape(weight)[0] != 2:
            self._fail("a router", f"{weight} has {self._shape(weight)[0]} rows, not 2")
        return weight

    # --- attention ----------------------------------------------------------------------------

    def _attention(self, attended: Expr, condition: Expr | None) -> tuple[str, Expr]:
        """Weight of the queries, and attention's input."""
        what = "attention"
        merged = self._expect(attended, "view", what)
        turned = self._expect(merged.args[0], "transpose", what)
        weighed = self._expect(turned.args[0], "bmm", what)
        shares = self._expect(weighed.args[0], "_softmax", what)
        masked = self._expect(shares.args[0], "masked_fill", what)
        scaled = self._expect(masked.args[0], "div", what)
        scores = self._expect(scaled.args[0], "bmm", what)
        if turned.args[1:] != (-2, -3) or shares.args[1:] != (-1, False):
            self._fail(what, "heads or positions are in another order")
        if masked.args[2] != -numpy.inf:
            self._fail(what, f"what is hidden is filled with {masked.args[2]}, not -inf")
        queries = self._expect(scores.args[0], "transpose", "queries")
        rope = self._rope(queries.args[0], "queries")
        if not numpy.isclose(scaled.args[1], rope.head_size**0.5):
            self._fail(what, f"scores are divided by {scaled.args[1]}")
        keys = self._expect(scores.args[1], "transpose", "keys")
        if keys.args[1:] != (-1, -2) or queries.args[1:] != (-2, -3):
            self._fail(what, "heads or positions are in another order")
        k_state = self._shared(keys.args[0], "keys")
        v_state = self._shared(weighed.args[1], "values")
        self._size("heads", self._shape(rope.weight)[0] // rope.head_size)
        self._size("head_size", rope.head_size)

        own_k = self._slot("keys", k_state, condition)
        own_v = self._slot("values", v_state, condition)
        k = self._rope(own_k, "keys")
        values = self._expect(own_v, "view", "values")
        normed, v = self._linear(values.args[0], "values")
        self._same(rope.source, k.source, "the inputs of queries and keys")
        self._same(rope.source, normed, "the inputs of queries and values")
        if k.base != rope.base or (self._base or k.base) != k.base:
            self._fail("keys", "the rotary embedding differs from another one")
        self._base = k.base
        self._size("kv_heads", self._shape(v)[0] // rope.head_size)
        self._names.update(k=k.weight, v=v)
        self._visible(masked.args[1], condition)
        return rope.weight, normed

    def _shared(self, heads: Expr, what: str) -> Expr:
        """The layer's part of a state, whose heads are shared by neighbouring query heads."""
        turned = self._expect(heads, "transpose", what)
        if turned.args[1:] != (-2, -3):
            self._fail(what, "heads or positions are in another order")
        found: Expr = turned.args[0]
        if found.op == "view":
            found = found.args[0]
            if found.op == "expand":
                found = found.args[0]
            repeated = self._expect(found, "unsqueeze", f"{what} shared by heads")
            if repeated.args[1] != 2:
                self._fail(what, "heads are not shared by neighbours")
            found = repeated.args[0]
        chosen = self._expect(found, "select", f"{what} of the layer")
        if chosen.args[1:] != (0, self._layer):
            self._fail(what, f"those of layer {chosen.args[2]} are used")
        state: Expr = chosen.args[0]
        return state

    def _slot(self, what: str, state: Expr, condition: Expr | None) -> Expr:
        """What the token writes into a state if it runs attention."""
        written = self._written(what, state)
        above = self._before[what]
        if above is not None and above is not written:
            self._fail(what, "a token that skips the next layer does not keep those of this one")
        self._before[what] = None
        if condition is not None and written.op == "phi" and written.args[0] is condition:
            self._before[what] = written.args[2]
            self._policies.add("kept")
            own: Expr = written.args[1]
            return own
        if condition is not None:
            self._policies.add("dense")
        return written

    def _written(self, what: str, state: Expr) -> Expr:
        """What is written at the position, for a state that must be the one that goes on."""
        scattered = self._expect(state, "select_scatter", f"{what} written")
        if scattered.args[2:] != (0, self._layer):
            self._fail(what, f"they are written to layer {scattered.args[3]}")
        copied = self._expect(scattered.args[1], "index_copy", f"{what} written")
        part = self._expect(copied.args[0], "select", f"{what} written")
        if part.args[0] is not scattered.args[0] or part.args[1:] != (0, self._layer):
            self._fail(what, "other positions change too")
        self._position(copied.args[2], what)
        if copied.args[1] != 0:
            self._fail(what, "positions are not the first axis")
        expected = self._states.get(what)
        if expected is None:
            expected = self._final(what, state)
        self._same(state, expected, f"the state of {what}")
        self._states[what] = scattered.args[0]
        assert state.shape is not None
        self._size("context", state.shape[1])
        found: Expr = copied.args[3]
        return found

    def _final(self, what: str, state: Expr) -> Expr:
        """The state that the program leaves; its name is kept."""
        for name, left in self._outcome.state.items():
            if left is state:
                self._names[what] = name
                return left
        return self._fail(what, "the state that the program leaves is another one")

    def _visible(self, hidden: Expr, condition: Expr | None) -> None:
        what = "what a token attends to"
        found = self._expect(hidden, "bitwise_not", what)
        for _ in range(2):
            found = self._expect(found.args[0], "unsqueeze", what)
        both = self._expect(found.args[0], "bitwise_and", what)
        past = self._expect(both.args[0], "le", what)
        counted = self._expect(past.args[0], "arange", what)
        if counted.args[0] != self._sizes["context"]:
            self._fail(what, f"{counted.args[0]} positions of {self._sizes['context']}")
        self._position(past.args[1], what)
        chosen = self._expect(both.args[1], "select", what)
        if chosen.args[1:] != (0, self._layer):
            self._fail(what, f"that of layer {chosen.args[2]} is used")
        seen = self._written("attended", chosen.args[0])
        if seen.op == "stack" and len(seen.args[0]) == 1:
            seen = seen.args[0][0]
        always = (seen.op == "const" and seen.args[0] is True) or (
            seen.op == "weight" and bool(numpy.all(self._weights[seen.args[0]]))
        )
        if condition is None:
            if not always:
                self._fail(what, f"a token that runs attention is hidden by {seen}")
            return
        own = seen is condition
        kept = "kept" in self._policies
        self._policies -= {"kept", "dense"}
        if own:
            self._policies.add("evict")
        elif always:
            self._policies.add("reuse" if kept else "dense")
        else:
            self._fail(what, f"it depends on {seen}")

    # --- pieces -------------------------------------------------------------------------------

    def _linear(self, e: Expr, what: str) -> tuple[Expr, str]:
        product = self._expect(e, "mm", what)
        turned = self._expect(product.args[1], "t", f"the matrix of {what}")
        weight = self._expect(turned.args[0], "weight", f"the matrix of {what}")
        return product.args[0], weight.args[0]

    def _norm(self, e: Expr, what: str) -> tuple[Expr, str]:
        outer = self._expect(e, "mul", what)
        gain = self._expect(outer.args[0], "weight", f"the gain of {what}")
        inner = self._expect(outer.args[1], "mul", what)
        x: Expr = inner.args[0]
        root = self._expect(inner.args[1], "rsqrt", what)
        shifted = self._expect(root.args[0], "add", what)
        mean = self._expect(shifted.args[0], "mean", what)
        square = self._expect(mean.args[0], "pow", what)
        if square.args != (x, 2) or mean.args[1:] != ((-1,), True):
            self._fail(what, "it is no root mean square of its input")
        self._eps.add(float(shifted.args[1]))
        return x, gain.args[0]

    def _rope(self, e: Expr, what: str) -> _Rope:
        """Pairs of neighbours turned by the position."""
        viewed = self._expect(e, "view", what)
        stacked = self._expect(viewed.args[0], "stack", f"turned {what}")
        if stacked.args[1] != -1:
            self._fail(what, "turned numbers are in another order")
        even, odd = stacked.args[0]
        minus, plus = self._expect(even, "sub", what), self._expect(odd, "add", what)
        parts = [self._expect(part, "mul", what) for part in (*minus.args, *plus.args)]
        (a, c), (b, s) = parts[0].args, parts[1].args
        if [part.args for part in parts[2:]] != [(a, s), (b, c)]:
            self._fail(what, "they are no rotation of pairs")
        cosine, sine = self._turn(c, "cos", what), self._turn(s, "sin", what)
        self._same(cosine, sine, f"the angles of {what}")
        for part, first in ((a, 0), (b, 1)):
            if self._expect(part, "slice", what).args[1:] != (2, first, _END, 2):
                self._fail(what, "pairs are not of neighbours")
        self._same(a.args[0], b.args[0], f"the pairs of {what}")
        heads = self._expect(a.args[0], "view", what)
        source, weight = self._linear(heads.args[0], what)
        assert heads.shape is not None
        return _Rope(weight, source, self._angles(cosine, heads.shape[-1], what), heads.shape[-1])

    def _turn(self, e: Expr, op: str, what: str) -> Expr:
        rounded = self._expect(self._expect(e, "unsqueeze", what).args[0], "_to_copy", what)
        found: Expr = self._expect(rounded.args[0], op, f"the rotation of {what}").args[0]
        return found

    def _angles(self, e: Expr, head_size: int, what: str) -> float:
        product = self._expect(e, "mul", f"the angles of {what}")
        position = self._expect(product.args[0], "unsqueeze", what)
        self._position(self._expect(position.args[0], "_to_copy", what).args[0], what)
        power = self._expect(product.args[1], "pow", f"the angles of {what}")
        exponent = self._expect(self._expect(power.args[1], "neg", what).args[0], "div", what)
        steps = self._expect(exponent.args[0], "arange", what)
        if steps.args[:3] != (0, head_size, 2) or exponent.args[1] != head_size:
            self._fail(what, "the angles are no powers of the base by pairs")
        return float(power.args[0])

    def _position(self, e: Expr, what: str) -> None:
        if e.op != "input" or e.args[0] != self._inputs[1]:
            self._fail(what, f"the position must be the second argument, not {e}")

    @property
    def _inputs(self) -> list[str]:
        return [name for name, _ in self._program.signature]

    def _check_start(self, x: Expr, embedding: str) -> None:
        table, token = x.args[:2]
        if len(self._inputs) != 2:
            self._fail("forward", f"it takes {', '.join(self._inputs)}, not token and position")
        if token.op != "input" or token.args[0] != self._inputs[0]:
            self._fail("the embedding", "the token must be the first argument")
        if table.op != "weight" or table.args[0] != embedding:
            self._fail("the output matrix", "it must be that of the embedding")
        for what in ("keys", "values", "attended"):
            left = self._states.get(what)
            if left is None or left.op != "state" or left.args[0] != self._names.get(what):
                self._fail(what, "they do not go on from call to call")
            if what != "attended" and self._before[what] is not None:
                self._fail(what, "attention of layer 0 must always run")

    @staticmethod
    def _count(x: Expr) -> int:
        """Layers below an expression."""
        count = 0
        while x.op in ("phi", "add"):
            x = x.args[2] if x.op == "phi" else x.args[0]
            count += 1
        return count // 2

    def _shape(self, weight: str) -> tuple[int, int]:
        rows, columns = self._program.weights[weight].shape
        return int(rows), int(columns)

    def _size(self, name: str, size: int) -> None:
        if self._sizes.setdefault(name, size) != size:
            self._fail(name, f"it is {size} here, and {self._sizes[name]} in another layer")

    def _expect(self, e: Any, op: str, what: str) -> Expr:
        if not isinstance(e, Expr) or e.op != op:
            self._fail(what, f"expected {op}, found {e}")
        return e

    def _same(self, a: Expr, b: Expr, what: str) -> None:
        if a is not b:
            self._fail(what, f"they are not the same: {a} and {b}")

    def _fail(self, what: str, why: str) -> NoReturn:
        place = self._program.name
        where = place if self._layer is None else f"{place}, layer {self._layer}"
        raise UnsupportedError(
            [
                Diagnostic(
                    where, "DY901", what, why,
                    "The overlay runs Llama-style decoders as in dyncc_models.skipopu.llama.",
                )
            ]
        )  # fmt: skip
