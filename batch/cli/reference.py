"""The generated parts of docs/: `python -m batch.cli.reference` writes them, and a test compares them with the code.

COMMANDS.md is the help of every command; the state diagram of ARCHITECTURE.md is the table of transitions.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import click

import batch
from batch.cli.commands import texbatch
from batch.ledger.states import TRANSITIONS, State

DOCS = Path(batch.__file__).parent / "docs"
HELP_WIDTH = 100
HEAD = """# Commands

The output of `--help`; written by `python -m batch.cli.reference`, and a test compares the two."""

_DIAGRAM = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def reference() -> str:
    """Return the text of COMMANDS.md: the help of each command."""
    with click.Context(
        texbatch, info_name="texbatch", terminal_width=HELP_WIDTH, **texbatch.context_settings
    ) as top:
        pages = [_page("texbatch", top)]
        for name, command in sorted(texbatch.commands.items()):
            with click.Context(command, parent=top, info_name=name, terminal_width=HELP_WIDTH) as ctx:
                pages.append(_page(f"texbatch {name}", ctx))
    return "\n\n".join([HEAD, *pages]) + "\n"


def _page(title: str, ctx: click.Context) -> str:
    return f"## {title}\n\n```text\n{ctx.get_help()}\n```"


def state_diagram() -> str:
    """Return the state machine as a Mermaid diagram, one arrow for each pair of states with the events that lead there."""
    order = list(State)
    moves = [(state, following, event) for (state, event), following in TRANSITIONS.items()]
    moves.sort(key=lambda move: (order.index(move[0]), order.index(move[1])))
    arrows = [
        f"    {state} --> {following}: {', '.join(event for *_, event in group)}"
        for (state, following), group in groupby(moves, key=lambda move: move[:2])
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {State.PLANNED}", *arrows, "```"])


def architecture(text: str) -> str:
    """Return the text of ARCHITECTURE.md with the state diagram of today."""
    return _DIAGRAM.sub(lambda _: state_diagram(), text, count=1)


if __name__ == "__main__":
    (DOCS / "COMMANDS.md").write_text(reference(), encoding="utf-8")
    page = DOCS / "ARCHITECTURE.md"
    page.write_text(architecture(page.read_text(encoding="utf-8")), encoding="utf-8")
