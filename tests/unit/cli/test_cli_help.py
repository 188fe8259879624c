"""Help: complete, what the commands page says, and what a shell completes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from batch.cli.commands import texbatch
from batch.cli.reference import HELP_WIDTH
from batch.manifest.manifest import READERS

PAGE = (Path(__file__).parents[3] / "batch" / "docs" / "COMMANDS.md").read_text(encoding="utf-8")
PAGES = dict(re.findall(r"## (texbatch[^\n]*)\n\n```text\n(.*?)\n```", PAGE, re.DOTALL))
OPTIONS = [
    pytest.param(command, option, id=f"{name} {option.opts[0]}")
    for name, command in texbatch.commands.items()
    for option in command.params
    if isinstance(option, click.Option)
]


@pytest.mark.parametrize("title", PAGES)
def test_help_says_what_the_page_says(command, title, monkeypatch):
    """At the same width; a terminal's last two columns stay free."""
    monkeypatch.setenv("COLUMNS", str(HELP_WIDTH + 2))
    for flag in ("--help", "-h"):
        code, told, _ = command(*title.split()[1:], flag)
        assert (code, told) == (0, PAGES[title] + "\n")


def test_the_page_has_every_command():
    assert set(PAGES) == {"texbatch"} | {f"texbatch {name}" for name in texbatch.commands}


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_says_in_a_sentence_what_it_does(command, option):
    assert re.fullmatch(r"(?s)\w.+(\.|\])", option.help or ""), option.help


def test_no_summary_of_a_command_is_cut():
    assert [name for name in texbatch.commands if _line(name).endswith("...")] == []


def _line(name):
    return next(line for line in PAGES["texbatch"].splitlines() if line.strip().startswith(f"{name} "))


def test_help_says_how_times_and_money_are_written():
    for name in ("run", "retry"):
        assert "90s, 15m, 2h" in PAGES[f"texbatch {name}"]
        assert "12.50" in PAGES[f"texbatch {name}"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_of_the_shell(command, shell):
    code, script, _ = command("completion", shell)
    assert code == 0
    assert "_TEXBATCH_COMPLETE" in script
    if shutil.which(shell):
        check = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
        assert (check.returncode, check.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("texbatch st", "plain,status"),
        ("texbatch run --log-f", "plain,--log-format"),
        ("texbatch run --log-format j", "plain,json"),
        ("texbatch completion f", "plain,fish"),
    ],
)
def test_a_shell_is_told_what_fits(typed, offered):
    words = typed.split()
    env = os.environ | {
        "_TEXBATCH_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "batch"], env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == [offered], done.stderr


def test_every_format_of_a_manifest_is_named():
    named = set(re.findall(r"\.[a-z]+", PAGES["texbatch run"]))
    assert READERS.keys() - {".yml"} <= named  # the other spelling of .yaml
