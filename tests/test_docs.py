"""Every command and program in the documents works, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def fenced(page: str, language: str) -> list[str]:
    """The blocks of code of a language in a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory like the project's, in which commands may write."""
    path = tmp_path_factory.mktemp("project")
    (path / "models").symlink_to(ROOT / "models")
    (path / "hw").symlink_to(ROOT / "hw")
    (path / "examples").symlink_to(ROOT / "examples")
    (path / "out").mkdir()
    return path


def run(folder: Path, *command: str) -> None:
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(places)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_of_the_readme(folder: Path) -> None:
    commands = [line for block in fenced("README.md", "sh") for line in block.splitlines()]
    assert commands[:2] == ["make demo", "make test"]  # which the continuous integration runs
    assert len(commands) > 5
    for command in commands[2:]:
        run(folder, "sh", "-ec", command)


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("neurocorex-tutorial.md", 5),
        ("neurocorex-cluster.md", 1),
        ("skipopu-board.md", 3),
        ("export.md", 2),
        ("batching.md", 2),
        ("profile.md", 1),
    ],
)
def test_tutorials(folder: Path, page: str, least: int) -> None:
    """Commands and programs of a page, in their order."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) >= least
    for language, block in blocks:
        if language == "python":
            run(folder, sys.executable, "-c", block)
        else:
            for command in block.splitlines():
                run(folder, "sh", "-ec", command)


def test_programs_of_the_readme(folder: Path) -> None:
    programs = [block for block in fenced("README.md", "python") if "import dyncc" in block]
    assert programs
    for program in programs:
        run(folder, sys.executable, "-c", program)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target
