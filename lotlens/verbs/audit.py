"""Check photos, labels and tables, and write what was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lotlens.audit.findings import Audit, audit_lot, write_findings
from lotlens.files import check_writable
from lotlens.photos.labelled import open_data
from lotlens.photos.synthetic import is_synthetic
from lotlens.recipes.loading import Overrides, resolve_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import Tell, Watcher
from lotlens.report.findings_page import write_findings_page
from lotlens.report.language import load_language
from lotlens.training.data import read_rules


def run_audit(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Overrides = (),
    out: Path | str | None = None,
    lang: str = "en",
    tell: Tell | None = None,
    watch: Watcher | None = None,
) -> Audit:
    """Check photos, labels and tables; write findings.csv and findings.html.

    Args:
        data: in any form that `open_lot` knows.
        recipe: says what training would do with each finding (see `recipes.schema.Audit`).
        overrides: "audit.leak=drop" and the like.
        out: the folder for the two files; None writes none.
        lang: the language of findings.html, "en" or "ru".
        tell: told what was understood of the files, before they are looked at.
        watch: told of the work as it goes on.

    Raises:
        InputError, RecipeError: what was given cannot be used.
        OutputError: a file cannot be written.
    """
    language = load_language(lang)
    recipe = resolve_recipe(recipe, overrides)
    if out is not None:
        check_writable(Path(out) / "findings.csv")
        check_writable(Path(out) / "findings.html")
    lot = open_data(Path(data), rules=read_rules(recipe))
    if tell is not None:
        tell(lot.reading)
    found = replace(audit_lot(lot, recipe.audit, lock=recipe.lock, watch=watch), lot=lot)
    if out is not None:
        out = Path(out)
        write_findings(out / "findings.csv", found)
        write_findings_page(
            out / "findings.html",
            found,
            lot,
            synthetic=is_synthetic(lot.source),
            language=language,
        )
    return found
