"""NIR graphs on the core: equal to a float simulation, saved and loaded, refused with numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy
import pytest
import torch

from dyncc import spiking
from dyncc.arch.neurocorex import CoreSpec
from dyncc.cli import main
from dyncc.core.errors import ArtifactError, ConfigError, InputError, ModelError, UserError
from dyncc_models.spiking import neurons

DT = 1e-3


def weights(seed: int, shape: tuple[int, int], scale: float) -> numpy.ndarray:
    """Multiples of scale / 127 that reach the largest, so that quantisation loses nothing."""
    draw = numpy.random.default_rng(seed).integers(-60, 128, shape)
    draw[0, :] = 127
    found: numpy.ndarray = draw * (scale / 127)
    return found


def lif(size: int, tau: float = 0.02, threshold: float = 1.0) -> nir.LIF:
    return nir.LIF(
        tau=numpy.full(size, tau),
        r=numpy.full(size, 1.0),
        v_leak=numpy.zeros(size),
        v_threshold=numpy.full(size, threshold),
        v_reset=numpy.zeros(size),
    )


def cuba(size: int) -> nir.CubaLIF:
    return nir.CubaLIF(
        tau_syn=numpy.full(size, 0.008),
        tau_mem=numpy.full(size, 0.02),
        r=numpy.ones(size),
        v_leak=numpy.zeros(size),
        v_threshold=numpy.ones(size),
        v_reset=numpy.zeros(size),
        w_in=numpy.ones(size),
    )


def graph(nodes: dict[str, Any], *edges: tuple[str, str]) -> nir.NIRGraph:
    return nir.NIRGraph(nodes=nodes, edges=list(edges))


def two_layers(second: Any) -> nir.NIRGraph:
    nodes = {
        "input": nir.Input(input_type={"input": numpy.array([6])}),
        "w0": nir.Affine(weights(0, (5, 6), 12.0), numpy.linspace(0, 0.5, 5)),
        "lif": lif(5),
        "rec": nir.Linear(weights(1, (5, 5), 12.0).T * 1.0),
        "w1": nir.Linear(weights(2, (3, 5), 24.0)),
        "second": second,
        "spikes": nir.Output(output_type={"output": numpy.array([5])}),
        "out": nir.Output(output_type={"output": numpy.array([3])}),
    }
    return graph(
        nodes, ("input", "w0"), ("w0", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "w1"),
        ("w1", "second"), ("second", "out"), ("lif", "spikes"),
    )  # fmt: skip


def simulate(found: nir.NIRGraph, spikes: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The graph of `two_layers` in float64, a spike passing through both levels in one step."""
    node = found.nodes
    first = neurons.Lif(neurons.decay(0.02, DT, "euler"))
    second: Any = {
        nir.LIF: first,
        nir.LI: neurons.Li(neurons.decay(0.02, DT, "euler")),
        nir.CubaLIF: neurons.CubaLif(neurons.decay(0.008, DT, "euler"), first),
    }[type(node["second"])]
    w0, rec, w1 = (torch.from_numpy(node[name].weight) for name in ("w0", "rec", "w1"))
    bias = torch.from_numpy(node["w0"].bias)
    v, s = torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    u, i = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    inner, outer = [], []
    for row in torch.from_numpy(spikes.astype("float64")):
        s, v = first.step(w0 @ row + bias + rec @ s, v)
        drive = w1 @ s
        if isinstance(second, neurons.Li):
            u = second.step(drive, u)
            outer.append(u.numpy().copy())
        elif isinstance(second, neurons.CubaLif):
            z, i, u = second.step(drive, (i, u))
            outer.append(z.numpy())
        else:
            z, u = second.step(drive, u)
            outer.append(z.numpy())
        inner.append(s.numpy())
    return numpy.array(inner), numpy.array(outer)


@pytest.mark.parametrize("second", [lif(3), cuba(3)], ids=["lif", "cuba_lif"])
def test_spikes_of_a_recurrent_network(second: Any) -> None:
    found = two_layers(second)
    spikes = numpy.random.default_rng(3).random((300, 6)) < 0.15
    inner, outer = simulate(found, spikes)
    results = spiking.map_network(spiking.from_nir(found, DT)).run(spikes)
    assert inner.sum() > 100
    assert outer.sum() > 20
    assert results["spikes"].dtype == bool
    # Rounding of factors moves a spike by a step where a potential grazes the threshold.
    assert (results["spikes"] != inner).mean() < 0.01
    assert (results["out"] != outer).mean() < 0.01


def test_potentials_of_an_integrator() -> None:
    readout = nir.LI(tau=numpy.full(3, 0.02), r=numpy.ones(3), v_leak=numpy.zeros(3))
    found = two_layers(readout)
    spikes = numpy.random.default_rng(4).random((60, 6)) < 0.15
    inner, outer = simulate(found, spikes)
    results = spiking.map_network(spiking.from_nir(found, DT)).run(spikes)
    assert (results["spikes"] == inner).all()
    # The decay factor is off by 2^-17 at most, which 1 / (1 - beta) = 20 steps add up.
    numpy.testing.assert_allclose(results["out"], outer, rtol=20 / 2**17, atol=1e-3)
    assert numpy.abs(outer).max() > 1


def test_integrate_and_fire_scale_and_flatten() -> None:
    found = graph(
        {
            "input": nir.Input(input_type={"input": numpy.array([2, 2])}),
            "flat": nir.Flatten(input_type={"input": numpy.array([2, 2])}, start_dim=0),
            "scale": nir.Scale(numpy.array([1.0, 2.0, 3.0, 4.0])),
            "w": nir.Linear(numpy.eye(4)),
            "if": nir.IF(r=numpy.full(4, 1 / DT), v_threshold=numpy.full(4, 4.5)),
            "out": nir.Output(output_type={"output": numpy.array([4])}),
        },
        ("input", "flat"), ("flat", "scale"), ("scale", "w"), ("w", "if"), ("if", "out"),
    )  # fmt: skip
    result = spiking.map_network(spiking.from_nir(found, DT)).run(numpy.ones((10, 4)))
    assert result["out"].sum(0).tolist() == [2, 3, 5, 5]


def test_saved_and_loaded(tmp_path: Path) -> None:
    program = spiking.map_network(
        spiking.from_nir(two_layers(lif(3)), DT), CoreSpec(20, 8, parameter_sets=20)
    )
    spikes = numpy.random.default_rng(5).random((50, 6)) < 0.2
    spiking.save(program, tmp_path / "net.dyncc")
    again = spiking.load(tmp_path / "net.dyncc")
    assert again.image.spec == program.image.spec
    for name, values in program.run(spikes).items():
        assert (again.run(input=spikes)[name] == values).all()
    for file in ("manifest.json", "image.safetensors"):
        content = (tmp_path / "net.dyncc" / file).read_bytes()
        (tmp_path / "net.dyncc" / file).write_bytes(content[:-9])
        with pytest.raises(ArtifactError, match=file):
            spiking.load(tmp_path / "net.dyncc")
        (tmp_path / "net.dyncc" / file).write_bytes(content)


def test_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nir.write("net.nir", two_layers(lif(3)))
    assert main(["compile", "net.nir", "--target", "neurocorex", "--dt", "1e-3"]) == 0
    assert "net.dyncc: 8 neurons, 6 input lines" in capsys.readouterr().out
    spikes = numpy.random.default_rng(6).random((40, 6)) < 0.2
    numpy.savez("in.npz", input=spikes)
    assert main(["run", "net.dyncc", "--input", "in.npz", "--output", "out.npz"]) == 0
    expected = spiking.load("net.dyncc").run(spikes)
    found = numpy.load("out.npz")
    assert sorted(found) == ["out", "spikes"]
    assert (found["out"] == expected["out"]).all()
    capsys.readouterr()
    for arguments, message in [
        (["compile", "net.nir", "--target", "neurocorex"], "--dt is missing"),
        (["compile", "gone.nir", "--target", "neurocorex", "--dt", "1"], "no file gone.nir"),
        (["compile", "in.npz", "--target", "neurocorex", "--dt", "1"], "cannot be read as NIR"),
        (
            ["compile", "net.nir", "--target", "neurocorex", "--dt", "1e-3", "--neurons", "4"],
            "the network needs 8 neurons, the core has 4",
        ),
        (["compile", "net.nir", "--target", "neurocorex", "--dt", "1"], "is longer than a time"),
    ]:
        assert main(arguments) == 1
        assert message in capsys.readouterr().err


def test_cores_of_boards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dyncc_hw.boards import BOARDS
    from dyncc_hw.designs import design

    monkeypatch.chdir(tmp_path)
    nir.write("net.nir", two_layers(lif(3)))
    compiling = ["compile", "net.nir", "--target", "neurocorex", "--dt", "1e-3", "--board"]
    boards = [name for name, board in BOARDS.items() if "neurocorex" in board.setups]
    for name in boards:
        assert main([*compiling, name, "--max-delay", "2", "--learning"]) == 0
        sizes = design("neurocorex").sizes | BOARDS[name].setups["neurocorex"].sizes
        spec = spiking.load("net.dyncc").image.spec
        assert (spec.neurons, spec.inputs, spec.lanes) == (
            sizes["neurons"], sizes["inputs"], sizes["lanes"],
        )  # fmt: skip
        assert (spec.max_delay, spec.learning) == (2, True)
    capsys.readouterr()
    for options, message in [
        (["toaster"], "there is no board 'toaster'"),
        (["u280"], "u280 has no neurocorex"),
        ([name, "--dense"], "--sparse and --dense choose a core, and --board gives one"),
        ([name, "--neurons", "7"], "the network needs 8 neurons, the core has 7"),
    ]:
        assert main([*compiling, *options]) == 1
        assert message in capsys.readouterr().err


def test_what_the_core_lacks_is_refused() -> None:
    class Unknown(nir.NIRNode):
        def __init__(self) -> None:
            self.input_type = {"input": numpy.array([3])}
            self.output_type = {"output": numpy.array([3])}

    strange = graph(
        {
            "input": nir.Input(input_type={"input": numpy.array([3])}),
            "d": Unknown(),
            "t": Unknown(),
            "out": nir.Output(output_type={"output": numpy.array([3])}),
        },
        ("input", "d"), ("d", "t"), ("t", "out"),
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"the core has no d \(Unknown\), t \(Unknown\)"):
        spiking.from_nir(strange, DT)
    network = spiking.Network(DT)
    network.input("x", 2)
    for name in "ab":
        network.add(spiking.Population(name, "lif", 2, tau=0.01))
    network.connect("a", "b", numpy.eye(2), delay=0)
    network.connect("b", "a", numpy.eye(2), delay=1)
    with pytest.raises(ConfigError, match=r"takes 1 step\(s\), and the core needs 2"):
        spiking.map_network(network)
    with pytest.raises(ConfigError, match=r"must have shape \(2, 2\), not \(3, 2\)"):
        network.connect("x", "a", numpy.ones((3, 2)))
    with pytest.raises(ConfigError, match="the name 'a' is taken"):
        network.input("a", 1)


@pytest.mark.parametrize(
    ("spikes", "message"),
    [
        ((numpy.zeros((4, 5)),), r"expected spikes of shape \(4, 6\), got \(4, 5\)"),
        ((numpy.full((4, 6), 0.5),), "spikes must be zeros and ones"),
        ((), "the inputs are input, not none"),
        ((numpy.zeros((4, 6)),) * 2, "there are 1 inputs, and 2 were given"),
    ],
)
def test_inputs_that_do_not_fit(spikes: Any, message: str) -> None:
    program = spiking.map_network(spiking.from_nir(two_layers(lif(3)), DT))
    with pytest.raises(InputError, match=message):
        program.run(*spikes)
    assert issubclass(InputError, UserError)


def test_a_device_gives_the_same_bits() -> None:
    """The twin of a device, over its link; the hardware itself is under test elsewhere."""
    program = spiking.map_network(spiking.from_nir(two_layers(lif(3)), DT))
    spikes = numpy.random.default_rng(7).random((40, 6)) < 0.3
    twin, link = (program.run(spikes, engine=engine) for engine in ("twin", "link"))
    assert twin["spikes"].sum() > 20
    for name, values in twin.items():
        assert (link[name] == values).all()
    with pytest.raises(ConfigError, match=r"engine must be one of twin, .* not 'gpu'"):
        program.run(spikes, engine="gpu")
