"""asked: which photos a model is judged on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lotlens.deliver.asked import find_asked
from lotlens.photos.labels import PLAIN_RULES


def test_labels_of_a_test_part_are_judged_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lotlens.deliver.asked.find_learnt", lambda *_, **__: {})
    (tmp_path / "photos").mkdir()
    for number in range(4):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(b"%d" % number)
    table = tmp_path / "answers.csv"
    run = SimpleNamespace(path=tmp_path / "run")
    model: Any = SimpleNamespace(label_rules=PLAIN_RULES, run=run)
    for parts in ("test test test test", "train train test test"):
        rows = [f"{n}.jpg,{'AB'[n % 2]},{part}" for n, part in enumerate(parts.split())]
        table.write_text("\n".join(["id,label,split", *rows]))
        asked = find_asked(model, None, table, tmp_path / "photos", locked=False)
        assert [photo.label for photo in asked.catalog.photos] == ["A", "B", "A", "B"]
        assert asked.catalog.labels == ("A", "B")
