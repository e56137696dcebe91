"""The machine equals the simulator: the same traces, the same memory, after everything."""

from __future__ import annotations

import itertools

import pytest
from hw.simulators import SIMULATORS

from dyncc.core.errors import MismatchError
from dyncc_models.skipopu.config import KvPolicy
from dyncc_sim.skipopu.bench.instances import BATCHED, INSTANCES, SINGLE
from dyncc_sim.skipopu.bench.machine_cases import decoder_cases, fault_cases, forced_cases, run

SMALL = (SINGLE.name, BATCHED.name)
#: All that a decoder's program has, and each of it suppressed.
INSTRUCTIONS = ("LD", "ST", "ATTN", "NPE", "ROUTE", "KVAPP", "KVSEL")
SUPPRESSED = ("LD suppressed", "ATTN suppressed", "NPE suppressed", "KVAPP suppressed")
COMBINATIONS = [f"predicates {''.join(bits)}" for bits in itertools.product("01", repeat=4)]


@pytest.mark.parametrize(
    ("name", "batches"),
    [pytest.param("single", [1, 1, 1], marks=pytest.mark.slow), ("batched", [3, 4, 1])],
)
def test_tokens_with_keys_reused_under_stalls(name: str, batches: list[int]) -> None:
    cases = decoder_cases(INSTANCES[name], KvPolicy.REUSE, batches)
    run(cases, seed=1, steady=False, required=[*INSTRUCTIONS, *SUPPRESSED])


def test_faults_and_the_program_after_them() -> None:
    required = [
        "bus error", "silence", "reset", "beyond memory", "outside of windows", "deadlock",
        "runaway", "undefined opcode", "rows that nobody takes", "no rows", "odd address",
        "memories compared",
    ]  # fmt: skip
    run(fault_cases(BATCHED), required=required)


def test_a_wrong_line_is_told() -> None:
    cases = decoder_cases(BATCHED, KvPolicy.DENSE, [1])
    lines = cases.runs[0]["lines"]["PE"]
    lines[3] = lines[3][:-1] + ("0" if lines[3][-1] != "0" else "1")
    with pytest.raises(MismatchError, match="PE 3 pc="):
        run(cases)


@pytest.mark.slow
@pytest.mark.parametrize("policy", KvPolicy)
@pytest.mark.parametrize("name", SMALL)
def test_all_combinations_of_predicates(name: str, policy: KvPolicy) -> None:
    run(forced_cases(INSTANCES[name], policy), required=COMBINATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("policy", KvPolicy)
@pytest.mark.parametrize("name", SMALL)
def test_a_text_longer_than_the_history(name: str, policy: KvPolicy) -> None:
    batches = [1] * 36 if name == "single" else [4, 3] * 5
    cases = decoder_cases(INSTANCES[name], policy, batches)
    run(cases, seed=3, steady=False, required=INSTRUCTIONS[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_logits_of_all_tokens(simulator: str) -> None:
    run(decoder_cases(BATCHED, KvPolicy.EVICT, [2], all_logits=True), simulator=simulator)
