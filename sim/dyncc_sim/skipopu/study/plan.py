"""Which points the study measures, and what belongs together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from dyncc.core.errors import ConfigError
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.perplexity import WINDOW
from dyncc_models.skipopu.smollm2_decoder import CONTEXT
from dyncc_sim.skipopu.study.measure import Result
from dyncc_sim.skipopu.study.points import ALWAYS, WEIGHTS, Point
from dyncc_sim.skipopu.study.statistics import perplexity, skip_rate
from dyncc_sim.skipopu.study.subjects import subject

#: Measures points: what `dyncc_sim.skipopu.study.run.run` does.
Measure = Callable[[Sequence[Point]], Mapping[Point, Result]]
POLICIES = tuple(policy.value for policy in KvPolicy)
#: Share of sublayers that the headline's routers skip, about.
SKIPPED = 0.25


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    subject
        The model; see `Point`.
    tokens
        Of a window.
    windows
        Windows of the simulator's main figures.
    sweep_windows
        Windows of the simulator's other figures; the first of those.
    float_windows
        Windows of PyTorch's figures.
    validation_windows
        Of the validation split: on these, sublayers are chosen that are skipped always.
    context
        Tokens of the window whose keys and values are counted.
    always
        How many sublayers are skipped always, for each of some points.
    mantissas, weights
        Bits, and formats of matrices.
    """

    subject: str
    tokens: int
    windows: int
    sweep_windows: int
    float_windows: int
    validation_windows: int
    context: int
    always: tuple[int, ...]
    mantissas: tuple[int, ...] = (6, 8, 10, 12)
    weights: tuple[str, ...] = tuple(WEIGHTS)

    def __post_init__(self) -> None:
        if not 0 < self.sweep_windows <= self.windows <= self.float_windows:
            raise ConfigError(
                f"windows of sweeps, of main figures and of PyTorch must not become fewer: "
                f"{self.sweep_windows}, {self.windows}, {self.float_windows}"
            )

    def point(self, engine: str = "simulator", **settings: object) -> Point:
        """A point on the first window of the test split."""
        return replace(
            Point(subject=self.subject, engine=engine, tokens=self.tokens),
            **settings,  # type: ignore[arg-type]
        )


def full(windows: int, sweep_windows: int, float_windows: int, context: int) -> Plan:
    """The study of SmolLM2-135M; see `Plan` for the parameters.

    Raises
    ------
    ConfigError
        If the text has not so many windows.
    """
    text = len(subject("smollm2").tokens("test"))
    whole = text // WINDOW
    if float_windows > whole:
        raise ConfigError(
            f"the text has {whole} whole windows of {WINDOW} tokens, not {float_windows}"
        )
    if not 8 <= context <= min(text, CONTEXT):
        raise ConfigError(f"the context must be 8..{min(text, CONTEXT)} tokens, not {context}")
    always = (5, 10, 15, 20)
    return Plan("smollm2", WINDOW, windows, sweep_windows, float_windows, 2, context, always)


QUICK = Plan("toy", 160, 1, 1, 1, 1, 96, (1, 2), (8, 12), ("Q4_1", "Q2_1"))


@dataclass(frozen=True)
class Series:
    """Results of a setting, by engine.

    Attributes
    ----------
    setting
        Of the simulator, or of PyTorch if that is all there is.
    exact, floating
        Results of the simulator and of PyTorch, in the order of windows; empty if not measured.
    """

    setting: Point
    exact: tuple[Result, ...]
    floating: tuple[Result, ...]


@dataclass(frozen=True)
class Study:
    """What was measured.

    Attributes
    ----------
    plan
        How much.
    base
        Nothing skipped, nothing rounded further.
    headline
        With the routers whose skip rate is closest to `SKIPPED`, under the policy that they were
        trained for; on as many windows as `base`. None without trained routers.
    mantissas, kv8, weights
        By bits of mantissas with keys and values in F16; by bits of mantissas with BFP8; by format.
    routers
        By name of trained routers and policy.
    always
        Sublayers that are skipped always: the least harmful ones, more and more; PyTorch alone.
    context
        One long window by policy, with the headline's routers or, without, the last of `always`.
    """

    plan: Plan
    base: Series
    headline: Series | None
    mantissas: Mapping[int, Series]
    kv8: Mapping[int, Series]
    weights: Mapping[str, Series]
    routers: Mapping[tuple[str, str], Series]
    always: Sequence[Series]
    context: Mapping[str, Series]


def carry_out(plan: Plan, measure: Measure) -> Study:
    """Measure everything of a plan.

    Points come in three rounds: which sublayers are skipped always follows from the first, and
    which routers are the headline's from the second.
    """
    of = subject(plan.subject)
    alone = _alone(plan)
    order = _least_harmful(
        alone, measure([p for setting in alone.values() for p in _windows(plan, setting)])
    )
    trained = {name: of.policy(name).value for name in of.trained()}
    kv8 = [bits for bits in plan.mantissas if bits in (8, 12)]
    settings = {
        "base": plan.point(),
        **{f"mantissa {bits}": plan.point(mantissa_bits=bits) for bits in plan.mantissas},
        **{f"kv8 {bits}": plan.point(mantissa_bits=bits, kv="BFP8") for bits in kv8},
        **{f"weights {name}": plan.point(weights=name) for name in plan.weights},
        **{
            f"routers {name} {policy}": plan.point(routers=name, policy=policy)
            for name in trained for policy in POLICIES
        },
    }  # fmt: skip
    floating = {
        name: replace(setting, engine="pytorch")
        for name, setting in settings.items()
        if setting.mantissa_bits == 12 and setting.kv == "F16"
    }
    always = [
        plan.point("pytorch", routers=ALWAYS + ",".join(order[:count]), policy="reuse")
        for count in plan.always
    ]
    found = measure(
        [p for setting in (*floating.values(), *always) for p in _windows(plan, setting)]
    )

    def results(setting: Point) -> tuple[Result, ...]:
        return tuple(found[point] for point in _windows(plan, setting))

    def own(name: str) -> str:
        """Routers under the policy that they were trained for."""
        return f"routers {name} {trained[name]}"

    chosen = min(
        trained,
        key=lambda name: abs(skip_rate(results(floating[own(name)])) - SKIPPED),
        default=None,
    )
    headline = None if chosen is None else own(chosen)
    # Other routers than the headline's are measured in PyTorch alone.
    left_out = {
        f"routers {name} {policy}" for name in trained for policy in POLICIES if name != chosen
    }
    exact = {
        name: _windows(plan, setting, plan.windows if name in ("base", headline) else None)
        for name, setting in settings.items()
        if name not in left_out
    }
    long = {
        policy: plan.point(
            routers=chosen or always[-1].routers, policy=policy, tokens=plan.context
        )
        for policy in POLICIES
    }  # fmt: skip
    points = [*(p for points in exact.values() for p in points), *long.values()]
    found = {**found, **measure(points)}
    series = {
        name: Series(
            setting, tuple(found[point] for point in exact.get(name, ())),
            results(floating[name]) if name in floating else (),
        )
        for name, setting in settings.items()
    }  # fmt: skip
    return Study(
        plan, series["base"], series[headline] if headline else None,
        {bits: series[f"mantissa {bits}"] for bits in plan.mantissas},
        {bits: series[f"kv8 {bits}"] for bits in kv8},
        {name: series[f"weights {name}"] for name in plan.weights},
        {
            (name, policy): series[f"routers {name} {policy}"]
            for name in trained for policy in POLICIES
        },
        [Series(setting, (), results(setting)) for setting in always],
        {policy: Series(setting, (found[setting],), ()) for policy, setting in long.items()},
    )  # fmt: skip


def _windows(plan: Plan, setting: Point, count: int | None = None) -> list[Point]:
    """The points of a setting."""
    if count is None:
        if setting.split == "validation":
            count = plan.validation_windows
        else:
            count = plan.sweep_windows if setting.engine == "simulator" else plan.float_windows
    return setting.windows(count)


def _alone(plan: Plan) -> dict[str, Point]:
    """Each sublayer skipped, alone, by its name."""
    layers = subject(plan.subject).config.layers
    names = [f"{kind}{layer}" for layer in range(layers) for kind in "am"]
    return {
        name: plan.point("pytorch", split="validation", policy="reuse", routers=ALWAYS + name)
        for name in names
        if name != "a0"  # which always runs
    }


def _least_harmful(alone: Mapping[str, Point], found: Mapping[Point, Result]) -> list[str]:
    """Sublayers, from that whose skipping alone costs least."""
    harm: dict[str, float] = {}
    for name, setting in alone.items():
        results = [result for point, result in found.items() if point.setting == setting]
        harm[name] = perplexity(results).value
    return sorted(harm, key=lambda name: harm[name])
