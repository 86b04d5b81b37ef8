"""The command line: it runs a command, and puts what went wrong into words."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import sys
import traceback
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from lotlens.cli.commands import Commands, set_language
from lotlens.cli.screen import ERR, OUT, safe_streams
from lotlens.errors import LotlensError, RecipeError
from lotlens.texts import show
from lotlens.threads import has_busy_threads
from lotlens.version import __version__

_ADVICE = {
    errno.EACCES: "you may not read or write it: change its permissions, or name another path",
    errno.EPERM: "you may not read or write it: change its permissions, or name another path",
    errno.ENOSPC: "free some space, or name another folder",
    errno.EDQUOT: "free some space, or name another folder",
    errno.EROFS: "name a folder on another disk",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ELOOP: "a link leads back to itself: remove it",
    errno.EMFILE: "allow this program more open files (ulimit -n 4096), and start it again",
    errno.ENFILE: "end other programs, and start it again",
    errno.EIO: "the disk or the connection to it fails: copy the files elsewhere, and try again",
    errno.ESTALE: "the connection to the disk was lost: mount it anew, and try again",
}
"""What to do about a failure of the operating system's."""


def main() -> None:
    """Run a command; errors become one line and exit code 2, Ctrl-C exit code 130."""
    try:
        with safe_streams():
            _run()
    except SystemExit as stop:
        # One that failed takes the usual way, which leaves the first process a moment to clear up.
        if "TORCHELASTIC_RUN_ID" in os.environ and stop.code in (None, 0):
            _leave(0)
        if has_busy_threads() and (stop.code is None or isinstance(stop.code, int)):
            _leave(stop.code or 0)
        raise


def build_app() -> typer.Typer:
    """All commands; each is loaded when it is asked for."""
    app = typer.Typer(
        name="lotlens",
        cls=Commands,
        help="Learns to tell cars from photographs.",
        epilog="More on one of them:  lotlens help COMMAND",
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    return app


def _leave(code: int) -> None:
    """End the process without taking the interpreter and its libraries down.

    Threads that libraries leave behind (torch's, gloo's, onnxruntime's), or that are deep in a
    decoder, may wake up while Python or the library is being dismantled, which aborts the process
    ("terminate called without an active exception"): rare, and seen on busy machines only. torchrun
    would then call a training failed that is done, and end the other processes. All that counts has
    been written: what is to happen at exit happens here, and the rest is the operating system's.
    """
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run() -> None:
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    try:
        try:
            build_app()()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # a disk that is full, a reader that left: told here, or nowhere
    except BrokenPipeError:
        # Whoever read our output (head, less) has left: not an error of ours.
        _write_to_nobody()
        sys.exit(0)
    except RecipeError as error:
        _fail(str(error), in_one_line=False)
    except LotlensError as error:
        _fail(str(error))
    except OSError as error:
        _write_to_nobody()  # if it was our output
        _fail(_explain(error))
    except RecursionError:
        _fail("what was given is nested too deeply (folders, zips or lists within each other)")
    except Exception:
        # An error of ours: all of it is shown, through the same filter as the rest.
        ERR.say(traceback.format_exc().rstrip())
        sys.exit(1)


def _fail(text: str, *, in_one_line: bool = True) -> NoReturn:
    """Say what is the matter and end; a recipe's mistakes alone have a line each."""
    try:
        ERR.say(f"error: {show(text, in_one_line=in_one_line)}")
    except BrokenPipeError:
        _write_to_nobody()
    sys.exit(2)


def _explain(error: OSError) -> str:
    """A failure of the operating system's that nobody has put into words."""
    reason = error.strerror or str(error) or type(error).__name__
    advice = _ADVICE.get(error.errno or 0)
    if error.filename is not None:
        reason = f"{os.fsdecode(error.filename)}: {reason}"
    return f"{reason}; {advice}" if advice else reason


def _write_to_nobody() -> None:
    """Let what still waits for a pipe without reader, or a full disk, go nowhere; at exit too."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _show_version(wanted: bool) -> None:
    if wanted:
        OUT.say(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    lang: Annotated[
        str | None,
        typer.Option(
            envvar="LOTLENS_LANG",
            show_default=False,
            help="Language of screen, report and page: en or ru; for each command too.",
        ),
    ] = None,
) -> None:
    del version
    set_language(lang)
