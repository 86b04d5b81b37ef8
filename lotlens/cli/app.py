"""The command line: a table of commands, each loaded when it is asked for."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Annotated

import typer

from lotlens.cli.screen import ERR, OUT
from lotlens.errors import LotlensError
from lotlens.threads import has_busy_threads
from lotlens.version import __version__

COMMANDS = {
    "demo": "lots.demo",
    "sample": "lots.sample",
    "audit": "lots.audit",
    "split": "lots.split",
    "train": "training.train",
    "sweep": "training.sweep",
    "lr-find": "training.lr_find",
    "evaluate": "judging.evaluate",
    "compare": "judging.compare",
    "predict": "answering.predict",
    "export": "answering.export",
    "views": "judging.views",
    "ensemble": "judging.ensemble",
    "refusal": "judging.refusal",
    "doubts": "improving.doubts",
    "improve": "improving.improve",
    "rounds": "improving.rounds",
    "review": "improving.review",
}
"""Name of each command -> module of this folder and function."""


def main() -> None:
    """Run a command; errors become one line and exit code 2, Ctrl-C exit code 130."""
    try:
        _run()
    except SystemExit as stop:
        # One that failed takes the usual way, which leaves the first process a moment to clear up.
        if "TORCHELASTIC_RUN_ID" in os.environ and stop.code in (None, 0):
            _leave(0)
        if has_busy_threads() and (stop.code is None or isinstance(stop.code, int)):
            _leave(stop.code or 0)
        raise


def build_app(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """The commands of these names. One alone is there in a tenth of the time of all."""
    app = typer.Typer(
        name="lotlens",
        help="Learns to tell car models from photographs.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for name in names:
        module, _, function = COMMANDS[name].partition(".")
        app.command(name)(getattr(import_module(f"lotlens.cli.{module}"), function))
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
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    try:
        build_app([asked] if asked in COMMANDS else COMMANDS)()
    except LotlensError as error:
        ERR.say(f"error: {error}")
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output (head, less) has left: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        OUT.print(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version
