"""The command line: it parses, calls one verb and prints; nothing else."""

from lotlens.cli.app import main

__all__ = ["main"]
