"""Processes of their own that begin with all of lotlens loaded, which takes seconds from scratch.

Python's fork server loads it once in a test process, and forks as often as it is asked to. What
such a process does, and how it ends or is killed, is as in one that was started by itself.
"""

import atexit
import functools
import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).parent.parent
LOADED = ["lotlens.cli.training", "lotlens.verbs.train", "lotlens.deliver.model"]
LOADED += [f"lotlens.vision.{name}" for name in ("stages", "finetune", "bundle", "explain")]
LOADED += ["lotlens.vision.predictor", "lotlens.report.run_report"]
COMMAND = "from lotlens.cli.app import main; main()"


class Forked:
    """A process, and what it has said."""

    def __init__(self, process, said_path):
        self._process, self._said_path = process, said_path

    def poll(self):
        """Its exit code, that of a signal below 0; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s=120):
        self._process.join(timeout_s)
        assert self.poll() is not None, f"still running; it said {self.said}"
        return self.poll()

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        with suppress(ProcessLookupError):  # it has ended by itself
            self.send_signal(signal.SIGKILL)
        return self.wait()

    @property
    def said(self):
        """On both streams."""
        return self._said_path.read_text("utf-8", "backslashreplace")


def fork(code, *arguments, said_path, environment=()):
    """Start Python's code with arguments in a process that has loaded lotlens.

    Args:
        code: of the program, as behind `python -c`.
        arguments: behind it, as texts.
        said_path: the file for what it says on both streams.
        environment: names and values beside those that this process has.
    """
    argv = ["-c", *map(str, arguments)]
    said_path.touch()
    variables = {**os.environ, **dict(environment)}
    process = _server().Process(target=_run, args=(code, argv, str(said_path), variables))
    process.start()
    return Forked(process, said_path)


@functools.cache
def _server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    # It looks for modules where this process runs the tests, wherever a test has gone meanwhile.
    with patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()
    return context


def _run(code, argv, said_path, variables):
    said = os.open(said_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = argv
    try:
        exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
