"""Commands that look after an installation: is all in place, and completion for the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from batch.cli import options

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path), required=False)
@options.option(
    "--out", type=click.Path(path_type=Path), help="The output folder to examine.  [default: here]"
)
@options.option("--local", is_flag=True, help="Examine the server on this machine: no key, nothing paid.")
@options.api_key_file
@click.pass_context
def doctor(ctx: click.Context, /, manifest: Path | None, **_: Any) -> None:
    """Examine what a run needs: key, hosts, clock, disk, versions, proxies, balance. Submits nothing.

    Give a job file to examine what it names, as its schedule will see it. Exit code 0, or 3 when something would
    stop a run.
    """
    from batch.cli.edge import read_service  # noqa: PLC0415  start-up time
    from batch.doctor import examine, exit_code  # noqa: PLC0415

    asked = options.asked(ctx, manifest or Path())
    values = asked.values
    service = None
    if not values["local"]:
        beside = manifest.parent if manifest else Path()
        service = read_service(beside, values["api_key_file"], required=False)
        asked.log.hide(service.api_key, *service.network.proxies.values())
    found = examine(values["out"] or Path(), service)
    for finding in found:
        click.echo(asked.log.masked(str(finding)))
    ctx.exit(exit_code(found))


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash   eval "$(texbatch completion bash)"              in ~/.bashrc
    zsh    eval "$(texbatch completion zsh)"               in ~/.zshrc
    fish   texbatch completion fish | source               in ~/.config/fish/config.fish
    """  # noqa: D301  click's own mark is a real backspace
    from click.shell_completion import get_completion_class  # noqa: PLC0415  start-up time

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"{shell}: no completion for this shell.")
    source = made(ctx.find_root().command, {}, "texbatch", "_TEXBATCH_COMPLETE")
    click.echo(source.source())
