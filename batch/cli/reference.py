"""The help of every command as one page: `python -m batch.cli.reference > batch/COMMANDS.md`."""

from __future__ import annotations

import click

from batch.cli.commands import texbatch

WIDTH = 100


def reference() -> str:
    """Return COMMANDS.md: what `--help` says, command by command."""
    parts = [
        "# Commands",
        "What `--help` says; made by `python -m batch.cli.reference`, kept true by a test.",
    ]
    with click.Context(
        texbatch, info_name="texbatch", terminal_width=WIDTH, **texbatch.context_settings
    ) as top:
        parts.append(_page("texbatch", top))
        for name in texbatch.list_commands(top):
            command = texbatch.get_command(top, name)
            if command is not None:
                with click.Context(command, parent=top, info_name=name, terminal_width=WIDTH) as ctx:
                    parts.append(_page(f"texbatch {name}", ctx))
    return "\n\n".join(parts) + "\n"


def _page(title: str, ctx: click.Context) -> str:
    return f"## {title}\n\n```text\n{ctx.get_help()}\n```"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
