"""The audit in Python."""

import csv

import lotlens


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_audit_writes_both_files_and_tells_what_training_would_do(copied_lot, tmp_path):
    found = lotlens.run_audit(copied_lot, overrides=["audit.grey=drop"], out=tmp_path / "audit")
    assert found.count()["label-conflict"] == 2
    assert found.actions["grey"] == "drop"
    rows = read_rows(tmp_path / "audit" / "findings.csv")[1:]
    assert len(rows) == len(found.findings)
    assert "stray.jpg" in (tmp_path / "audit" / "findings.html").read_text("utf-8")
