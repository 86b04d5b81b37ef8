"""Photos, zips, tables, recipes and runs that anybody may have made (see `tests.fuzz`).

LOTLENS_FUZZ_S=120 spends so many seconds on each kind, and LOTLENS_SEED names other cases.
"""

import os

import pytest

from tests.forks import fork

SECONDS = os.environ.get("LOTLENS_FUZZ_S", "0")
SEED = os.environ.get("LOTLENS_SEED", "0")
CASES = {"photos": 250, "zips": 40, "tables": 120, "recipes": 120, "runs": 50}


@pytest.mark.parametrize("kind", CASES)
def test_whatever_is_in_a_file_it_ends_well(kind, tiny_run, tmp_path):
    code = "from tests.fuzz import main; main()"
    process = fork(
        *(code, kind, SEED, CASES[kind], SECONDS, tiny_run.path), said_path=tmp_path / "said"
    )
    code = process.wait(600 + 2 * float(SECONDS))
    print(process.said)
    assert code == 0, process.said[-4000:]
