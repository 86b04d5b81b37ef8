"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Data = Annotated[Path, typer.Argument(help="Competition zip, folder, CSV, or class folders.")]
Recipe = Annotated[str, typer.Option(help="quick, standard, best, reference, or a YAML file.")]
OptionalRecipe = Annotated[
    str | None,
    typer.Option(help="quick, standard (the default), best, reference, or a YAML file."),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a key: stages.1.lr=3e-4 (repeatable).")
]
Workers = Annotated[
    int, typer.Option(help="Processes that augment photos; 0: between the steps.", min=0)
]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
Labels = Annotated[Path | None, typer.Option(help="CSV of ids and labels.")]
Photos = Annotated[Path | None, typer.Option(help="Zip or folder of their photos.")]
Jobs = Annotated[
    int,
    typer.Option("--jobs", help="So many at the same time, each in its own process.", min=1),
]
On = Annotated[
    str,
    typer.Option(help="ray: workers on this machine; ray://HOST:PORT: those of its Ray cluster."),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser when it is done.")]
