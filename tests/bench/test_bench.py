"""A whole comparison of a small network, with peers that fail, and what is made of it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from bench import broken_peers, networks

from dyncc.bench import pages, record, tables
from dyncc.bench.pages import parts
from dyncc.bench.peers import named, ours
from dyncc.bench.processes import Child, Failed
from dyncc.bench.results import batches_of, summary
from dyncc.bench.session import FEWEST, Session, Settings
from dyncc.cli import main
from dyncc.core.errors import InputError
from dyncc.driver import compile

SETTINGS = Settings(threads=1, seconds=0.0)


@cache
def measured() -> dict[str, Any]:
    """The record of a network, measured once for all tests."""
    names = ("eager", "export", "onnxruntime")
    peers = [ours("eager", 8), *(peer for name in names for peer in named(name))]
    found = record.begin("networks", "dyncc bench networks.py", SETTINGS)
    session = Session(peers, SETTINGS, lambda what, step, steps: None)
    with session.running():
        record.add(found, session.measure("exits", networks.__file__))
    return found


def _peer(subject: dict[str, Any], name: str) -> dict[str, Any]:
    return next(peer for peer in subject["peers"] if peer["name"] == name)


def test_paths_are_timed_one_by_one_and_as_they_come() -> None:
    (subject,) = measured()["subjects"]
    assert subject["inputs"] == 12
    assert subject["paths"] == 3
    cases = subject["cases"]
    assert [case["name"] for case in cases] == [
        "exit 1 of 3", "exit 2 of 3", "exit 3 of 3", "as they come",
    ]  # fmt: skip
    assert sum(case["weight"] for case in cases if case["batch"] == 1) == pytest.approx(1.0)
    assert batches_of(subject) == [1, 8]


@pytest.mark.parametrize("name", ["dyncc eager", "eager", "ONNX Runtime, static path"])
def test_peers_that_run_have_all_figures(name: str) -> None:
    (subject,) = measured()["subjects"]
    peer = _peer(subject, name)
    assert (peer["status"], peer["message"]) == ("ok", "")
    assert [len(rounds) for rounds in peer["rounds"]] == [FEWEST] * 4
    assert all(time > 0 for rounds in peer["rounds"] for time in rounds)
    assert peer["peak_memory_bytes"] > 20e6
    assert peer["first_call_seconds"] > 0
    assert peer["max_abs_error"] < 1e-4
    assert (peer["artifact_bytes"] > 0) == (name != "eager")


def test_batches_are_run_together_where_the_network_allows_it() -> None:
    (subject,) = measured()["subjects"]
    assert _peer(subject, "dyncc eager")["notes"]["batch"] == 8
    assert "samples of a batch together" in "".join(part.text for part in parts([measured()]))


def test_a_graph_without_control_flow_holds_only_the_blocks_of_its_path() -> None:
    (subject,) = measured()["subjects"]
    assert _peer(subject, "ONNX Runtime, static path")["notes"]["graphs"] == 3


def test_peers_that_fail_are_shown_with_their_message() -> None:
    (subject,) = measured()["subjects"]
    peer = _peer(subject, "torch.export")
    assert peer["status"] == "failed"
    assert "data-dependent" in peer["message"]
    shown = tables.failures(measured()).markdown()
    assert "torch.export | failed | `GuardOnDataDependentSymNode: " in shown
    assert "torch.export" not in tables.speed(measured(), 1, "dyncc eager").head


def test_cells_hold_what_would_end_them() -> None:
    table = tables.Table(("a", "b"), (("`x | y < z`", "1 < 2 | *3*"),))
    assert table.markdown().splitlines()[2] == "| `x \\| y < z` | 1 &lt; 2 \\| *3* |"
    assert "<td class=words>x | y &lt; z</td><td>1 &lt; 2 | 3</td>" in table.html()


def test_the_summary_is_that_of_the_rounds() -> None:
    (subject,) = measured()["subjects"]
    assert subject["summary"] == summary(subject)


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "record.json"
    record.write(measured(), file)
    assert record.read(file) == json.loads(json.dumps(measured()))
    lines = file.read_text().splitlines()
    assert max(map(len, lines)) < 500
    assert any(re.fullmatch(r" +\[\d+(, \d+)+\],?", line) for line in lines), lines


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"record\.json"):
        record.read(file)


class _Balance(HTMLParser):
    """Fails where a tag is closed that is not the last one open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_stands_alone() -> None:
    page = pages.page([measured()])
    balance = _Balance()
    balance.feed(page)
    assert balance.open == []
    assert page.count("<img") == page.count("data:image/svg+xml;base64,") == 4
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "exit 2 of 3" in page
    assert "GuardOnDataDependentSymNode" in page
    assert measured()["machine"]["cpu"] in page


def test_the_command_shows_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    record.write(measured(), file)
    page, site = tmp_path / "page.md", tmp_path / "page.html"
    assert main(["bench", str(file), "--page", str(page), "--html", str(site)]) == 0
    assert "| `exits` |" in capsys.readouterr().out
    text = page.read_text()
    for figure in re.findall(r"\]\((.+\.svg)\)", text):
        assert (tmp_path / figure).is_file()
    assert text == pages.markdown([record.read(file)], "figures")
    assert site.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--peers", "tensorflow", "x.py"], "no peer 'tensorflow'"),
        (["--backend", "gcc", "x.py"], "no back end 'gcc'"),
        ([], "nothing to measure"),
        (["--threads", "-1", "x.py"], "--threads must be greater than 0"),
        (["--operators", "conv9x9*"], "no operator is called 'conv9x9*'"),
        (["a.json", "x.py"], "not both at once"),
    ],
)
def test_bad_options_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_broken_peers_do_not_end_a_comparison() -> None:
    peers = [
        broken_peers.Fatal(), named("eager")[0], broken_peers.Wrong(), broken_peers.Unbuildable(),
        broken_peers.Crashing(), broken_peers.Hanging(),
    ]  # fmt: skip
    settings = replace(SETTINGS, batches=(1,))
    session = Session(peers, settings, lambda what, step, steps: None)
    with session.running():
        subject = session.measure("exits", networks.__file__)
    found = {peer["name"]: (peer["status"], peer["message"]) for peer in subject["peers"]}
    assert found.pop("wrong")[0] == "wrong"
    assert found == {
        "fatal": ("failed", "the process was ended by SIGABRT"),
        "eager": ("ok", ""),
        "unbuildable": ("failed", "NotImplementedError: no such thing | here"),
        "crashing": ("failed", "the process was ended by SIGABRT"),
        "hanging": ("failed", "takes longer than 3 s"),
    }


def test_a_network_that_does_not_run_has_no_peers(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("raise ValueError('not today')\n")
    session = Session([named("eager")[0]], SETTINGS, lambda what, step, steps: None)
    with session.running():
        subject = session.measure("broken", str(file))
    assert subject["peers"] == []
    assert "not today" in subject["problem"]


def test_an_artifact_is_measured_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, file = tmp_path / "exits.dyncc", tmp_path / "record.json"
    example = networks.example_inputs()
    compile(networks.build(), example, artifact, "eager", source={"model": networks.__file__})
    options = ["--peers", "eager", "--paths", "1", "--batch", "1", "--seconds", "0.01"]
    options += ["--threads", "1", "--json", "-o", str(file)]
    assert main(["bench", str(artifact), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == record.read(file)
    (subject,) = found["subjects"]
    assert subject["name"] == "exits.dyncc"
    assert [(peer["name"], peer["status"]) for peer in subject["peers"]] == [
        ("dyncc eager", "ok"), ("eager", "ok"),
    ]  # fmt: skip
    assert len(subject["cases"]) == 1
    assert found["settings"]["threads"] == 1


class _Echo:
    def say(self, text: str) -> str:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
        return text

    def fail(self) -> None:
        raise LookupError("gone")


def test_children_answer_and_keep_what_they_print(tmp_path: Path) -> None:
    child = Child(_Echo, tmp_path / "log")
    try:
        assert child.call("say", "hello", timeout=60) == "hello"
        with pytest.raises(Failed, match="LookupError: gone"):
            child.call("fail", timeout=60)
        assert child.call("say", "again", timeout=60) == "again"
    finally:
        child.close()
    assert (tmp_path / "log").read_text() == "hello\nagain\n"
