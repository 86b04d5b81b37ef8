"""Executes a notebook's cells as Jupyter does, and stores what they show; it needs no Jupyter.

    python docs/execute.py docs/example.ipynb

The cells run in an empty folder, which is gone afterwards. tests/test_example.py executes them too.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def execute(notebook: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A notebook with what its cells show when they are executed in a folder, one after another.

    An error in a cell is raised, with the cell's number in its traceback.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = []
    with contextlib.chdir(folder):
        for number, cell in enumerate(notebook["cells"], start=1):
            if cell["cell_type"] == "code":
                outputs = _run("".join(cell["source"]), number, names)
                cell = {**cell, "outputs": outputs, "execution_count": number}  # noqa: PLW2901
            cells.append(cell)
    return {**notebook, "cells": cells}


def _run(source: str, number: int, names: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell prints, and what its last expression shows."""
    name = f"cell {number}"
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), names)  # noqa: S102 - our own notebook
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), names)  # noqa: S307
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        text = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    if value is not None:
        shown = {"data": _show(value), "metadata": {}, "execution_count": number}
        outputs.append({"output_type": "execute_result", **shown})
    return outputs


def _show(value: Any) -> dict[str, Any]:
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    for kind, method in (("text/html", "_repr_html_"), ("image/jpeg", "_repr_jpeg_")):
        shown = getattr(value, method, lambda: None)()
        if isinstance(shown, bytes):
            data[kind] = base64.b64encode(shown).decode()
        elif shown is not None:
            data[kind] = shown.splitlines(keepends=True)
    return data


def write(path: Path, notebook: dict[str, Any]) -> None:
    path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main() -> None:
    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        write(path, execute(json.loads(path.read_text("utf-8")), Path(folder)))


if __name__ == "__main__":
    main()
