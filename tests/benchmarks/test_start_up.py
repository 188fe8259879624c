"""CPU until the command line answers, and what a run imports before its first submit, beside bare Python and click.

Least of several processes each, in turns; judged as ratios, since machines differ.
"""

import resource
import subprocess
import sys

import pytest
from tiers import size

pytestmark = pytest.mark.benchmark

TURNS = size(7, least=2)
HELP = 0.25
"""Seconds beyond bare Python, on an ordinary machine."""
HELP_OVER_CLICK = 4.5
RUN_OVER_LIBRARIES = 1.8

COMMANDS = {
    "bare": ("-c", "pass"),
    "click": ("-c", "import click"),
    "help": ("-m", "batch", "--help"),
    "run": ("-c", "import batch.cli.commands, batch.execution.dispatcher"),
    "libraries": ("-c", "import aiohttp, anyio, click, httpx, pydantic, sqlite3, yaml"),
}


def cpu_s(arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_command_line_starts_quickly(goals):
    found = {}
    for _ in range(TURNS):
        for name, arguments in COMMANDS.items():
            found[name] = min(found.get(name, 60.0), cpu_s(arguments))
    beyond = {name: seconds - found["bare"] for name, seconds in found.items()}
    goals.tell("texbatch --help: CPU s beyond bare Python", f"{beyond['help']:.3f}", f"≤ {HELP}")
    more = f"click {beyond['click']:.3f} s"
    goals.at_most(
        "    ÷ import click", beyond["help"] / beyond["click"], HELP_OVER_CLICK, more=more, slack=0.5
    )
    goals.tell("what a run imports: CPU s beyond bare Python", f"{beyond['run']:.3f}")
    more = f"libraries {beyond['libraries']:.3f} s"
    goals.at_most(
        "    ÷ the libraries alone", beyond["run"] / beyond["libraries"], RUN_OVER_LIBRARIES, more=more
    )
    assert goals.missed == []
