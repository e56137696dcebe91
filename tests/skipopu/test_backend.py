"""From model files to artifacts of the overlay, and what is wrong with either."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from skipopu import toy
from torch import nn

from dyncc.arch.skipopu.assembler import assemble
from dyncc.arch.skipopu.formats import WeightType
from dyncc.arch.skipopu.matrices import dequantise, quantise
from dyncc.arch.skipopu.spec import ARCHS
from dyncc.backends.skipopu.artifact import Overlay, Text, load, save
from dyncc.backends.skipopu.plan import DecoderPlan
from dyncc.backends.skipopu.weights import Rounding, store
from dyncc.cli import main
from dyncc.core.errors import ArtifactError, ConfigError
from dyncc.driver import compile_decoder
from dyncc_models.skipopu.config import KvPolicy


def compiled(model: nn.Module, arch: str = "ecp5_85f", **options: Any) -> Overlay:
    """Compile for an instance by name."""
    return compile_decoder(model, toy.example_inputs(), ARCHS[arch], **options)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifact") / "toy.dyncc"
    compiled(toy.decoder(KvPolicy.REUSE), output=path, source={"model": "toy.py:build"})
    return path


@pytest.fixture
def copy(artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact, tmp_path / "toy.dyncc"))


@pytest.mark.parametrize("kind", WeightType)
@pytest.mark.parametrize("group", [32, 128])
def test_rounding_again_changes_nothing(kind: WeightType, group: int) -> None:
    values = numpy.random.default_rng(1).normal(size=(5, 256))
    rows = quantise(kind, values, group)
    found = dequantise(kind, rows, group)
    step = {"Q4_1": 0.3, "Q8_0": 0.02, "Q4_0G": 0.4, "BFP16": 1e-3}[kind.name]
    assert numpy.abs(found - values).max() < step
    assert found.shape == values.shape
    # A scale that is rounded to binary16 may move a number by a step of that, not by one of q.
    again = dequantise(kind, quantise(kind, found, group), group)
    assert numpy.abs(again - found).max() <= 2e-3 * numpy.abs(values).max()


def test_an_artifact_comes_back(artifact: Path) -> None:
    found = load(artifact, ARCHS["ecp5_85f"])
    again = compiled(toy.decoder(KvPolicy.REUSE))
    assert found.plan == again.plan
    assert found.memory == again.memory
    assert found.programs == again.programs
    assert numpy.array_equal(found.image, again.image)
    assert found.matrices == again.matrices
    assert found.hcfg == again.hcfg
    assert found.plan.policy == "reuse"
    assert found.routers == 7
    # The weights are those that the format holds; only the scales' own rounding is left.
    assert all(not item.exact and item.error < 2e-3 for item in found.matrices)
    for name, words in found.programs.items():
        text = (artifact / f"{name}.s").read_text()
        assert tuple(item.encode() for item in assemble(text)) == words
    assert not (artifact / "tokenizer.json").exists()


def test_programs_do_not_depend_on_what_the_context_is() -> None:
    # Only addresses behind the table move, and these are numbers of SETR.
    model = toy.decoder(KvPolicy.DENSE, routed=False)
    programs = compiled(model).programs
    assert len(programs["token"]) < 300
    assert programs["token"] != programs["logits"]


def test_exact_matrices_are_taken_as_they_are() -> None:
    model = toy.decoder(KvPolicy.REUSE)
    given = {}
    for name, value in model.named_parameters():
        if value.ndim == 2 and "router" not in name:
            kind = WeightType.Q8_0 if "embedding" in name else WeightType.Q4_1
            rows = quantise(kind, value.detach().numpy(), 32)
            given[name] = SimpleNamespace(kind=kind.name, shape=tuple(value.shape), data=rows)
            value.data = torch.from_numpy(dequantise(kind, rows, 32)).float()
    found = compiled(model, quantised=given)
    assert all(item.exact and item.error == 0 for item in found.matrices)
    name = "layers.1.mlp.up.weight"
    first = found.memory.address(name) - found.image_address + 16
    rows = given[name].data
    assert numpy.array_equal(found.image[first : first + rows.size], rows.reshape(-1))
    weights = {key: value.detach().numpy() for key, value in model.named_parameters()}

    def changed(**values: Any) -> list[Rounding]:
        other = SimpleNamespace(**vars(given[name]) | values)
        return store(found.plan, found.arch, weights, given | {name: other})[1]

    with pytest.raises(ConfigError, match=rf"{name} of shape \(64, 64\), not \(96, 64\)"):
        changed(shape=(64, 64))
    with pytest.raises(ConfigError, match=r"as uint8\[96, 20\], not uint8\[96, 40\]"):
        changed(data=rows[:, :20])
    with pytest.raises(ConfigError, match=f"other numbers for {name} than the module has"):
        changed(data=rows[::-1])
    with pytest.raises(ConfigError, match="gives nothing, and the module has no such parameter"):
        store(found.plan, found.arch, weights, {"nothing": given[name]})
    # A format that the overlay does not have is rounded to one that it has.
    assert [item.name for item in changed(kind="Q6_K") if not item.exact] == [name]


def test_blocks_longer_than_groups_are_rounded_anew() -> None:
    random = numpy.random.default_rng(3)
    plan = DecoderPlan(128, 128, 1, 1, 128, 50, 8, 1e4, 1e-5, "dense", "e", "n", ())
    weights = {"e": random.normal(size=(50, 128)).astype(numpy.float32)}
    rows = quantise(WeightType.Q8_0, weights["e"], 32)
    given = {"e": SimpleNamespace(kind="Q8_0", shape=(50, 128), data=rows)}
    stored, (rounding,) = store(plan, ARCHS["u280_g128"], weights, given)
    assert not rounding.exact
    assert 1e-3 < rounding.error < 0.01
    assert stored["e"].data.shape == (50, 130)


def test_decoders_that_do_not_fit() -> None:
    model = toy.decoder(KvPolicy.REUSE)
    with pytest.raises(ConfigError, match="width is 64, and u280_g128 works on multiples of 128"):
        compiled(model, "u280_g128")
    small = replace(ARCHS["ecp5_85f"], name="small", vector_words=256)
    with pytest.raises(ConfigError, match=r"needs \d+ numbers of the vector buffer, and small has"):
        compile_decoder(model, toy.example_inputs(), small)
    with pytest.raises(ConfigError, match=r"slots must be in 1..160, .* not 161"):
        compiled(model, slots=161)
    with torch.no_grad():
        model.layers[2].mlp.up.weight[3, 5] = 1e6
    with pytest.raises(ConfigError, match=r"2.mlp.up.weight: numbers up to 1e\+06 are too"):
        compiled(model)


def test_another_architecture(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = (
        r"the image is for ecp5_85f \(clk_hz 50000000, .*kv BFP8.*\), "
        r"not u280 \(clk_hz 225000000, .*kv F16.*\)"
    )
    with pytest.raises(ConfigError, match=message):
        load(artifact, ARCHS["u280"])
    command = ("generate", str(artifact), "--prompt-tokens", "1", "--arch", "u280")
    assert main(command) == 1
    assert "the image is for ecp5_85f (" in capsys.readouterr().err
    assert main((*command[:-1], "u55c")) == 1
    assert "there is no architecture 'u55c'" in capsys.readouterr().err


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["memory.bin", "token.bin", "token.s", "logits.bin", "logits.s", "program.hcfg"]
)
def test_damaged_and_missing_files(copy: Path, name: str) -> None:
    flip(copy / name)
    with pytest.raises(ArtifactError, match=f"the file {name} is damaged"):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=f"the file {name} is missing"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format=9), "has format 9, and this dyncc reads 1"),
        (lambda m: m.update(target="neurocorex"), "it is for neurocorex, not skipopu"),
        (lambda m: m.pop("plan"), "no valid field 'plan'"),
        (lambda m: m["plan"].pop("width"), "damaged: .*'width'"),
        (lambda m: m["arch"].update(mantissa_bits=9), "mantissa_bits must be one of"),
        (lambda m: m["arch"].update(kv="F8"), "it has no 'F8'"),
        (lambda m: m["memory"]["regions"][0].pop("size"), "damaged: .*'size'"),
        (lambda m: m["image"].update(size=5), r"memory.bin has \d+ bytes, not 5"),
        (lambda m: m["files"].pop("token.bin"), "has no hash of token.bin"),
    ],
)
def test_damaged_manifests(copy: Path, change: Callable[[Any], Any], message: str) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=message):
        load(copy)


def test_a_tokenizer_is_kept(tmp_path: Path) -> None:
    found = compiled(
        toy.decoder(KvPolicy.DENSE, False),
        tokenizer=SimpleNamespace(json="{}", end=2, chat_form="Q: {question} A:"),
    )
    save(found, tmp_path / "toy.dyncc")
    assert load(tmp_path / "toy.dyncc").text == Text("{}", 2, "Q: {question} A:")


def test_inspect(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(("inspect", str(artifact))) == 0
    text = capsys.readouterr().out
    for part in (
        "SkipLlama for ecp5_85f: 8 x 8 multipliers",
        "text to tokens and back, by the caller: no tokenizer",
        "7 routers decide here, as predicates; keys and values of tokens that skip attention: re",
        "4 routers",
        "28 matrices",
        "29 rounded with a relative error of up to",
        "slots of keys and values: 160",
    ):
        assert part in text
    for name in ("token", "logits"):
        assert main(("inspect", str(artifact), "--program", name)) == 0
        assert capsys.readouterr().out == (artifact / f"{name}.s").read_text()
    assert main(("inspect", str(artifact), "--svg", "x.svg")) == 1
    assert "draw the programs of this machine" in capsys.readouterr().err
    for command in (("run", "--input", "x.npz", "--output", "y.npz"), ("verify",)):
        assert main((*command, str(artifact))) == 1
        assert "holds a language model for the overlay" in capsys.readouterr().err


def test_compile_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("compile", str(toy.model_file(tmp_path)), "--target", "skipopu")
    assert main((*command, "--arch", "ecp5_85f", "--slots", "99", "-o", "a.dyncc")) == 0
    out = capsys.readouterr().out
    assert out.startswith("a.dyncc: 4 layers for ecp5_85f, ")
    assert load("a.dyncc").memory.slots == 99
    assert main((*command, "--arch", "u55c")) == 1
    assert "Choose from ice40_2x2, ecp5_85f, kv260_16x16" in capsys.readouterr().err
    assert main((*command, "--arch", "ecp5_85f", "-o", ".")) == 1
    assert "is not an artifact, so it is not replaced" in capsys.readouterr().err


def test_an_unsupported_operator_is_named_with_its_layer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.py"
    path.write_text(
        toy.MODEL_FILE.format(policy="dense", routed=False)
        + "    model.layers[1].mlp = Other(model.layers[1].mlp)\n    return model\n"
        "class Other(nn.Module):\n"
        "    def __init__(self, mlp):\n"
        "        super().__init__()\n"
        "        self.gate, self.up, self.down = mlp.gate, mlp.up, mlp.down\n"
        "    def forward(self, x):\n"
        "        return self.down(F.gelu(self.gate(x)) * self.up(x))\n"
    )
    path.write_text(
        "from torch import nn\nfrom torch.nn import functional as F\n"
        + path.read_text().replace("return decoder", "model = decoder")
    )
    assert main(("compile", str(path), "--target", "skipopu", "-o", str(tmp_path / "o"))) == 1
    assert "layer 1: DY901 SwiGLU: expected silu, found gelu" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_decoder_that_quantised_does_not_describe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = toy.model_file(tmp_path)
    path.write_text(path.read_text() + "def quantised():\n    return [1]\n")
    assert main(("compile", str(path), "--target", "skipopu")) == 1
    assert "quantised() gives a list" in capsys.readouterr().err
