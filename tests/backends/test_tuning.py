"""Searching for faster kernels: the database, reuse, what is refused, limits, other machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from backends.differential import Case
from backends.tracing import trace
from torch import Tensor, nn
from tvm import s_tir, te, tirx

import dyncc
from dyncc.backends.measuring import Sample
from dyncc.backends.refusals import FAILURES
from dyncc.backends.tvm.build import import_for_tvm
from dyncc.backends.tvm.knobs import choosing
from dyncc.backends.tvm.lowering import schedule_by_rule
from dyncc.backends.tvm.target import Cpu
from dyncc.backends.tvm.tuning import session as tuning_session
from dyncc.backends.tvm.tuning.database import SHIPPED, VERSION, Database, Record
from dyncc.backends.tvm.tuning.machines import Here, There
from dyncc.backends.tvm.tuning.proposals import KnobSearch, MetaScheduleSearch, Proposal
from dyncc.backends.tvm.tuning.reuse import Found, apply, kernel_key, target_key
from dyncc.backends.tvm.tuning.session import Session, agree, load
from dyncc.backends.tvm.tuning.workloads import Position, Workload, positions
from dyncc.cli.compile_command import _tuned
from dyncc.core.errors import ConfigError, ToolError
from dyncc.core.tuning import VARIABLE, Tuning, database_path, using

CPU = Cpu("generic", (), lanes=4, registers=16, threads=2)
CPU_HERE = Cpu.host()


def record(key: str = "kernel 1", **changes: Any) -> Record:
    plain = Record(target_key(CPU), key, "a kernel", {"rows": 2}, None, 1e-5, 2e-5, "a machine")
    return replace(plain, **changes)


def added(name: str = "main", amount: float = 1.0) -> tirx.PrimFunc:
    x = te.placeholder((64, 32), name="x")
    y = te.compute(x.shape, lambda i, j: x[i, j] + amount, name="y")
    return te.create_prim_func([x, y]).with_attr("global_symbol", name)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Linear(16 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        return self.last(y.flatten(1)) if y.mean() < 100 else y.sum((1, 2, 3))


def network() -> tuple[nn.Module, tuple[Tensor]]:
    torch.manual_seed(0)
    return Net().eval(), (torch.randn(1, 3, 8, 8),)


# The database ---------------------------------------------------------------------------------


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "tuning.json"
    database = Database(path)
    database.add(record())
    database.add(record("kernel 2", trace=[[["GetSBlock", [], ["main"], ["b0"]]], []]))
    database.save()
    again = Database(path)
    for key in ("kernel 1", "kernel 2"):
        assert again.find(target_key(CPU), key) == database.find(target_key(CPU), key)
    assert again.find(target_key(CPU), "kernel 3") is None
    assert [item.name for item in path.parent.iterdir() if "lock" not in item.name] == [path.name]


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    one, other = Database(path), Database(path)
    one.add(record("kernel 1"))
    one.save()
    other.add(record("kernel 2"))
    other.save()
    assert len(Database(path)) == 2


DAMAGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another format": (lambda found: {**found, "format": "other"}, "not one that dyncc wrote"),
    "no object": (lambda found: [found], "not one that dyncc wrote"),
    "newer": (lambda found: {**found, "version": VERSION + 1}, f"version {VERSION + 1}"),
    "no records": (lambda found: {**found, "records": 3}, "no list of records"),
    "a field less": (
        lambda found: {**found, "records": [{"target": "x"}]},
        "does not have the fields",
    ),
    "a wrong type": (
        lambda found: {**found, "records": [{**found["records"][0], "seconds": "1"}]},
        "wrong value of seconds",
    ),
    "a wrong choice": (
        lambda found: {**found, "records": [{**found["records"][0], "choices": {"rows": 1.5}}]},
        "wrong value of choices",
    ),
}


@pytest.mark.parametrize("kind", [*DAMAGED, "cut off"])
def test_a_damaged_database_is_named_and_left_as_it_is(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    database = Database(path)
    database.add(record())
    database.save()
    damage, message = DAMAGED.get(kind, (None, "is no JSON"))
    text = path.read_text()
    path.write_text(text[:-10] if damage is None else json.dumps(damage(json.loads(text))))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=message) as caught:
        Database(path)
    assert str(path) in str(caught.value)
    assert "not changed" in str(caught.value)
    # Neither does one that was open before overwrite it.
    database.add(record("kernel 2"))
    with pytest.raises(ConfigError, match=message):
        database.save()
    assert path.read_bytes() == before


def test_the_database_that_comes_with_dyncc() -> None:
    records = json.loads(SHIPPED.read_text())["records"]
    assert len(Database(SHIPPED)) == len(records)
    assert all(found["machine"] for found in records)


def test_which_database_is_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert database_path() == tmp_path / "dyncc" / "tuning.json"
    monkeypatch.setenv(VARIABLE, "mine.json")
    assert database_path() == Path("mine.json")
    with using(Tuning(database="given.json")):
        assert database_path() == Path("given.json")
    with using(Tuning(database="none")):
        assert database_path() is None
    assert database_path() == Path("mine.json")


@pytest.mark.parametrize("change", ["mcpu", "features", "threads"])
def test_keys_tell_machines_apart(change: str, tmp_path: Path) -> None:
    values = {"mcpu": "znver9", "features": ("avx2",), "threads": 3}
    other = replace(CPU, **{change: values[change]})
    assert target_key(other) != target_key(CPU)
    database = Database(tmp_path / "tuning.json")
    function = added()
    database.add(record(kernel_key(function)))
    database.add(record("product 1x2 by 2x3"))
    assert Found(CPU, [database]).record(function) is not None
    assert "product 1x2 by 2x3" in Found(CPU, [database]).layouts()
    assert Found(other, [database]).record(function) is None
    assert not Found(other, [database]).layouts()


def test_keys_tell_kernels_apart_by_structure_alone() -> None:
    assert kernel_key(added("one")) == kernel_key(added("another"))
    assert kernel_key(added()) != kernel_key(added(amount=2.0))


# Proposals ------------------------------------------------------------------------------------


def product() -> tirx.PrimFunc:
    left = te.placeholder((24, 16), name="left")
    right = te.placeholder((16, 32), name="right")
    k = te.reduce_axis((0, 16), "k")
    y = te.compute((24, 32), lambda i, j: te.sum(left[i, k] * right[k, j], axis=k), name="y")
    return te.create_prim_func([left, right, y]).with_attr("global_symbol", "main")


def test_metaschedule_proposes_what_its_record_makes_again() -> None:
    function = product()
    search = MetaScheduleSearch(function, Cpu.host().target(), Random(1))
    texts = set()
    for _ in range(10):  # more than a batch
        proposal = search.propose()
        assert proposal is not None
        search.learn(proposal, 1e-5, best=False)
        stored = json.loads(json.dumps(proposal.trace))
        again = apply(record(trace=stored), function, lambda: None)
        assert again is not None
        texts.add(again.mod.script())
        assert again.mod.script() == proposal.schedule.mod.script()
    assert len(texts) > 3


OFFERING: dict[str, Case] = {
    "convolution": Case(
        lambda x, w: F.relu(F.conv2d(x, w, None, 1, 1)),
        [torch.randn(1, 16, 16, 32)],
        [torch.randn(24, 16, 3, 3)],
    ),
    "strided": Case(
        lambda x, w: F.conv2d(x, w, None, 2, 1),
        [torch.randn(2, 16, 14, 14)],
        [torch.randn(40, 16, 3, 3)],
    ),
    "depthwise": Case(
        lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 20),
        [torch.randn(1, 20, 16, 16)],
        [torch.randn(20, 1, 3, 3)],
    ),
    "linear": Case(F.linear, [torch.randn(12, 33)], [torch.randn(100, 33)]),
    "product": Case(torch.matmul, [torch.randn(4, 24, 16), torch.randn(4, 16, 32)]),
}


@pytest.mark.parametrize("name", OFFERING)
def test_numbers_that_rules_offer_make_correct_code(name: str) -> None:
    case = OFFERING[name]
    region = trace(name, case.function, case.params, case.weights)
    weights = {f"w{place}": weight.numpy() for place, weight in enumerate(case.weights)}
    samples = {region.name: Sample([], tuple(weights), 1)}
    (kernel,) = positions([import_for_tvm(region, "entry")], CPU_HERE, samples, weights)
    here = Here()
    expected: list[numpy.ndarray] = []
    for _, workload in kernel.layouts:
        search = KnobSearch(
            partial(schedule_by_rule, workload.function, CPU_HERE), {}, Random(len(name))
        )
        for _ in range(3):
            proposal = search.propose()
            if proposal is None:
                break
            outputs = load(here, CPU_HERE, workload, proposal.schedule).outputs(here)
            assert agree(outputs, expected or outputs), proposal.choices
            expected = expected or outputs
    assert len(search._offered) > 1


def test_a_record_that_does_not_fit_any_more_is_passed_over(tmp_path: Path) -> None:
    function = added()
    rule = lambda: schedule_by_rule(function, CPU)  # noqa: E731
    assert apply(record(choices={"gone": 1}), function, rule) is None
    broken = [[["GetSBlock", [], ["nowhere", "main"], ["b0"]]], []]
    assert apply(record(trace=broken), function, rule) is None
    database = Database(tmp_path / "tuning.json")
    database.add(record(kernel_key(function), choices={"gone": 1}))
    found = Found(CPU, [database])
    assert found.schedule("added", function, rule) is not None
    assert not found.used


# Sessions -------------------------------------------------------------------------------------


@dataclass
class Clock:
    """A machine that runs kernels, and says how long they take; the first is the untuned one."""

    seconds: Sequence[float]
    name: str = "a clock"

    def __post_init__(self) -> None:
        self._here = Here()
        self._loaded: list[Any] = []
        self.place, self.fetch = self._here.place, self._here.fetch

    def load(self, library: Any) -> Any:
        self._loaded.append(self._here.load(library))
        return self._loaded[-1]

    def burst(self, kernel: Any, arguments: Sequence[Any], calls: int) -> float:
        kernel(*arguments)
        place = next(i for i, one in enumerate(self._loaded) if one is kernel)
        seconds = self.seconds[min(place, len(self.seconds) - 1)]
        if seconds < 0:
            raise KeyboardInterrupt
        return seconds

    def use_threads(self, count: int) -> None:
        pass


@dataclass
class Given:
    """A search that proposes some functions as they are."""

    functions: list[tirx.PrimFunc]

    def propose(self) -> Proposal | None:
        if not self.functions:
            return None
        return Proposal(s_tir.Schedule(self.functions.pop(0)), {"number": len(self.functions)})

    def learn(self, proposal: Proposal, seconds: float | None, *, best: bool) -> None:
        pass


def searched(
    machine: Any,
    proposed: list[tirx.PrimFunc],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float = 60.0,
) -> Callable[[], tuning_session.Outcome]:
    monkeypatch.setattr(tuning_session, "_BRIEF", 0.0)
    monkeypatch.setattr(tuning_session, "_THOROUGH", 0.0)
    monkeypatch.setattr(tuning_session, "is_free", lambda *_: True)
    x = numpy.linspace(-1, 1, 64 * 32, dtype="float32").reshape(64, 32)
    position = Position(1, None, [({}, Workload("y", added(), [x], [((64, 32), "float32")]))])
    monkeypatch.setattr(tuning_session, "positions", lambda *_: [position])
    monkeypatch.setattr(Session, "_searches", lambda *_: [Given(proposed)])
    session = Session(CPU_HERE, machine, database, Found(CPU_HERE), seconds, lambda *_: None)
    return lambda: session.run([], {}, {})


def test_a_wrong_candidate_is_refused_however_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "tuning.json")
    wrong = added(amount=1.01)
    outcome = searched(Clock([2.0, 0.1]), [wrong], database, monkeypatch)()
    assert (outcome.refused, outcome.tuned, len(database)) == (1, 0, 0)
    outcome = searched(Clock([2.0, 0.1]), [added()], database, monkeypatch)()
    assert (outcome.refused, outcome.tuned, len(Database(database.path))) == (0, 1, 1)
    assert (outcome.before, outcome.after) == (2.0, 0.1)


def test_a_slower_candidate_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "tuning.json")
    outcome = searched(Clock([1.0, 0.99, 1.5]), [added(), added()], database, monkeypatch)()
    assert (outcome.trials, outcome.tuned, len(database)) == (2, 0, 0)


def test_no_time_for_a_kernel_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "tuning.json")
    short = searched(Clock([2.0]), [], database, monkeypatch, seconds=0.0)()
    assert (short.kernels, short.unreached, short.before) == (0, 1, 0.0)
    said = {"machine": "a clock", "database": ""}
    (line,) = _tuned({**asdict(short), **said})
    assert "the time was over before the first of 1 kernels was measured" in line
    assert "more seconds" in line
    assert _tuned({**asdict(short), **said, "kernels": 2})[1].startswith("no time was left for 1")
    assert "no kernel" in _tuned({**asdict(short), **said, "unreached": 0})[0]
    enough = searched(Clock([2.0]), [], database, monkeypatch)()
    assert (enough.kernels, enough.unreached) == (1, 0)


def test_an_interrupt_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tuning.json"
    run = searched(Clock([2.0, 0.1, -1.0]), [added(), added()], Database(path), monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert len(Database(path)) == 1


def test_results_agree_up_to_the_order_of_sums() -> None:
    one = numpy.array([1.0, -3.0, numpy.inf, numpy.nan], "float32")
    assert agree([one + numpy.float32(1e-6)], [one])
    assert not agree([one + numpy.float32(1e-3)], [one])
    assert not agree([one.astype("float64")], [one])
    assert not agree([numpy.nan_to_num(one)], [one])
    assert agree([numpy.array([1, 2])], [numpy.array([1, 2])])
    assert not agree([numpy.array([1, 3])], [numpy.array([1, 2])])


def test_the_time_limit_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNCC_NUM_THREADS", str(CPU_HERE.threads))
    monkeypatch.setattr(tuning_session, "is_free", lambda *_: False)
    module, example = network()
    seen: list[tuple[float, int]] = []

    def progress(what: str, step: int, steps: int) -> None:
        seen.append((time.perf_counter(), steps if what.startswith("tuning") else 0))

    tuning = Tuning(seconds=8.0, database=str(tmp_path / "tuning.json"))
    program = dyncc.compile(module, example, tuning=tuning, progress=progress)
    at = [when for when, steps in seen if steps]
    after = next(when for when, steps in seen if not steps and when > at[-1])
    # One step may be longer than all before it; it is the last.
    longest = max(b - a for a, b in zip(at, [*at[1:], after], strict=True))
    assert after - at[0] <= 8.0 + longest
    assert torch.allclose(torch.from_dlpack(program(*example)), module(*example), atol=1e-4)


# Reuse ----------------------------------------------------------------------------------------


def test_later_compilations_reuse_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "tuning.json")
    noted: dict[str, tuple[tirx.PrimFunc, Any]] = {}

    def note(
        self: Found, name: str, function: tirx.PrimFunc, rule: Callable[[], Any]
    ) -> s_tir.Schedule | None:
        noted[name] = function, rule
        return rule()

    module, example = network()
    with monkeypatch.context() as patch:
        patch.setattr(Found, "schedule", note)
        dyncc.compile(module, example, tuning=Tuning(database="none"))
    name = next(name for name in noted if "convolution" in name)
    function, rule = noted[name]
    search = KnobSearch(rule, {}, Random(0))
    proposals = [search.propose() for _ in range(3)]
    assert proposals[-1] is not None
    with choosing({}) as usual:
        rule()
    assert proposals[-1].choices != usual.made
    database.add(
        record(kernel_key(function), target=target_key(CPU_HERE), choices=proposals[-1].choices)
    )
    database.save()
    monkeypatch.setattr(Session, "run", None)  # nothing is searched for
    program = dyncc.compile(module, example, tuning=Tuning(database=str(database.path)))
    regions = program.manifest["report"]["regions"].values()
    tuned = {key: value for region in regions for key, value in region["tuned"].items()}
    assert set(tuned) == {name}
    assert tuned[name]["from"] == str(database.path)
    assert tuned[name]["choices"] == proposals[-1].choices
    assert torch.allclose(torch.from_dlpack(program(*example)), module(*example), atol=1e-4)


# Options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0.0}, "above 0"),
        ({"seconds": float("nan")}, "above 0"),
        ({"rpc": "a:1:b"}, "says where --tune measures"),
        ({"seconds": 1.0, "rpc": "a:b"}, "HOST:PORT:KEY"),
        ({"seconds": 1.0, "rpc": "a:b:c"}, "HOST:PORT:KEY"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tuning(**options)


def test_only_tvm_is_tuned() -> None:
    module, example = network()
    with pytest.raises(ConfigError, match="eager"):
        dyncc.compile(module, example, backend="eager", tuning=Tuning(seconds=1.0))


def test_tuning_needs_a_database() -> None:
    module, example = network()
    with pytest.raises(ConfigError, match="needs a database"):
        dyncc.compile(module, example, tuning=Tuning(seconds=1.0, database="none"))


# Other machines -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracker() -> Iterator[int]:
    from tvm import rpc
    from tvm.rpc.tracker import Tracker

    found = Tracker("127.0.0.1", port=19190, port_end=19990, silent=True)
    server = rpc.Server(
        "127.0.0.1", port=29090, port_end=29990, key="here", silent=True,
        tracker_addr=("127.0.0.1", found.port),
    )  # fmt: skip
    end = time.monotonic() + 30
    session = rpc.connect_tracker("127.0.0.1", found.port)
    while (
        not session.summary()["queue_info"].get("here", {}).get("free") and time.monotonic() < end
    ):
        time.sleep(0.1)
    session.close()
    yield found.port
    server.terminate()
    found.terminate()


def test_without_a_tracker_or_a_server(tracker: int) -> None:
    with pytest.raises(ToolError, match=r"no RPC tracker at 127\.0\.0\.1:1"):
        There("127.0.0.1", 1, "here")
    with pytest.raises(ToolError, match="no server for the key 'elsewhere'") as caught:
        There("127.0.0.1", tracker, "elsewhere")
    assert "It has here" in str(caught.value)


def test_measuring_on_another_machine(
    tracker: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = There("127.0.0.1", tracker, "here")
    database = Database(tmp_path / "tuning.json")
    outcome = searched(machine, [added(amount=1.5), added()], database, monkeypatch)()
    assert outcome.kernels == 1
    assert outcome.trials == 2  # both ran there
    assert outcome.before > 0
    # A candidate that fails is no lost connection, and a lost connection is said.
    with pytest.raises(FAILURES) as caught:
        machine._checked(lambda: machine._session.get_function("no.such.function"))
    assert not isinstance(caught.value, ToolError)
    machine._session._sess = None

    def lost() -> None:
        raise RuntimeError("the socket is closed")

    with pytest.raises(ToolError, match="was lost"):
        machine._checked(lost)
