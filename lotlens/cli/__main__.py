"""`python -m lotlens.cli` is the command `lotlens`."""

from lotlens.cli.app import main

main()
