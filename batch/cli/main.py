"""The entry point: sets up the standard streams, runs the command line, and ends with the documented exit code.

Nothing about the standard streams may change a run. A stream that was closed before the start is opened on /dev/null:
otherwise the next file, perhaps the ledger, would get its number, and printed text would be written into it. Output that
cannot be written (the reader is gone, the disk of the log is full) is dropped: the exit code reports the work.
"""

from __future__ import annotations

import io
import os
import select
import sys
import traceback
from typing import TYPE_CHECKING

import click

from batch.cli.commands import texbatch
from batch.cli.log import Log, info, problems
from batch.core.config import INVALID_SKIP
from batch.core.errors import EXIT_INTERNAL, EXIT_OK, EXIT_USAGE, ManifestError, TexbatchError
from batch.core.log_event import ERROR, LogEvent
from batch.core.units import counted

if TYPE_CHECKING:
    from typing_extensions import Buffer

EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; end the process with the documented exit code."""
    open_streams()
    if sys.platform == "win32":
        click.echo("texbatch does not run on Windows. Use Linux, macOS or WSL.", err=True)
        sys.exit(EXIT_USAGE)
    # numpy starts one thread per core for linear algebra, which costs 0.2 s of CPU and helps nothing here: the workers
    # of --local have a core each.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    log = Log()
    if key := os.environ.get("SEGMIND_API_KEY", "").strip():
        log.mask(key)  # before anything can fail
    log.configure()
    try:
        code = _exit_code_of_command(log)
    finally:
        log.close()
    sys.exit(code)


def _exit_code_of_command(log: Log) -> int:
    """Run the command; report whatever it raises, and return the exit code."""
    try:
        return texbatch.main(prog_name="texbatch", standalone_mode=False, obj=log) or EXIT_OK
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        if log.as_json:
            info(exc.format_message(), "command.refused", ERROR, exit_code=EXIT_USAGE)
        else:
            exc.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        text = "Interrupted. Run the same command to continue."
        info(text, "command.interrupted", ERROR, exit_code=EXIT_INTERRUPTED)
        return EXIT_INTERRUPTED
    except ManifestError as exc:
        problems(exc.problems)
        if exc.dropped and not log.as_json:
            info(f"… and {exc.dropped} more", level=ERROR)
        errors = sum(not problem.warning for problem in exc.problems) + exc.dropped
        text = f"{counted(errors, 'problem')}; {exc.consequence}."
        if exc.good:
            text += f" --invalid {INVALID_SKIP} runs the other {counted(exc.good, 'row')}."
        info(text, "command.refused", ERROR, exit_code=exc.exit_code)
        return exc.exit_code
    except TexbatchError as exc:
        fields = {"message": str(exc), "exit_code": exc.exit_code}
        LogEvent("command.refused", ERROR, fields).log(f"texbatch: {exc}")
        return exc.exit_code
    except Exception as exc:  # noqa: BLE001  reported in full
        from importlib import metadata  # noqa: PLC0415  start-up time

        trace = traceback.format_exc()
        # Not its repr: that of a UnicodeDecodeError quotes every byte it was given, of whatever file.
        message = f"{type(exc).__name__}: {exc}"
        fields = {"message": message, "traceback": trace, "exit_code": EXIT_INTERNAL}
        last = f"texbatch {metadata.version('texbatch')}: internal error, please report it. The ledger keeps what was sent."
        LogEvent("command.crashed", ERROR, fields).log(f"{trace}\n{last}")
        return EXIT_INTERNAL


def open_streams() -> None:
    """Open closed standard streams on /dev/null, and keep output from ever failing; called before anything else."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(number, True)  # noqa: FBT003  as any standard stream
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123  it stays open
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue  # the caller replaced it
        like = stream if isinstance(stream, io.TextIOWrapper) else None
        if stream is None:  # it was closed: whatever has its number by now is not a stream
            number = os.open(os.devnull, os.O_WRONLY)  # noqa: PLW2901
        unfailing = io.TextIOWrapper(
            io.BufferedWriter(_Unfailing(number, "w", closefd=False)),
            encoding=like.encoding if like else "utf-8",
            errors="backslashreplace",  # not even where a character has no code in the encoding
            line_buffering=like.line_buffering if like else True,
            write_through=like.write_through if like else False,
        )
        setattr(sys, name, unfailing)


class _Unfailing(io.FileIO):
    """A file that accepts everything; what it cannot write is dropped."""

    def write(self, data: Buffer, /) -> int:
        size = memoryview(data).nbytes
        try:
            while (written := super().write(data)) is None:  # it does not block, and is full
                select.select([], [self], [])
        except OSError:
            return size
        return written
