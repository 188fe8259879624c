"""The last border: whatever a command raises is told, and becomes the documented exit code."""

from __future__ import annotations

import gc
import os
import sys
import traceback

import click

from batch.cli.commands import texbatch
from batch.cli.log import Log
from batch.errors import EXIT_INTERNAL, EXIT_OK, EXIT_USAGE, ManifestError, TexbatchError
from batch.log import ERROR, LogEvent

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; end the process with the documented exit code."""
    if sys.platform == "win32":
        click.echo("texbatch does not run on Windows. Use Linux, macOS or WSL.", err=True)
        sys.exit(EXIT_USAGE)
    # numpy starts a thread a core for linear algebra, which takes 0.2 s of CPU and is of no use here: the workers of
    # --local have a core each.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = _guarded(Log())
    gc.freeze()  # else the interpreter looks through all that pandas left once more before it ends, for 0.2 s
    sys.exit(code)


def _guarded(log: Log) -> int:
    try:
        return texbatch.main(prog_name="texbatch", standalone_mode=False, obj=log) or EXIT_OK
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        if log.as_json:
            log.say(exc.format_message(), "command.refused", ERROR, exit_code=EXIT_USAGE)
        else:
            exc.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        log.say(
            "Interrupted. Run the same command to continue.",
            "command.interrupted",
            ERROR,
            exit_code=EXIT_INTERRUPTED,
        )
        return EXIT_INTERRUPTED
    except ManifestError as exc:
        return _refused(exc, log)
    except TexbatchError as exc:
        fields = {"message": str(exc), "exit_code": exc.exit_code}
        log.tell(LogEvent("command.refused", ERROR, fields), f"texbatch: {exc}")
        return exc.exit_code
    except Exception as exc:  # noqa: BLE001  told in full
        from importlib import metadata  # noqa: PLC0415  start-up time

        told = traceback.format_exc()
        fields = {"message": repr(exc), "traceback": told, "exit_code": EXIT_INTERNAL}
        last = (
            f"texbatch {metadata.version('texbatch')}: internal error, please report it. The ledger is safe."
        )
        log.tell(LogEvent("command.crashed", ERROR, fields), f"{told}\n{last}")
        return EXIT_INTERNAL


def _refused(exc: ManifestError, log: Log) -> int:
    said = f"{len(exc.problems)} problem{'' if len(exc.problems) == 1 else 's'}; nothing was sent."
    if log.as_json:
        log.problems(exc.problems)
    else:
        said = f"{exc}\n{said}"
    log.say(said, "command.refused", ERROR, exit_code=exc.exit_code)
    return exc.exit_code
