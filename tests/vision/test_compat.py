"""The mend is put in before torchvision's first import, and only where it is needed."""

import os
import re
import subprocess
import sys

import pytest
import torch


def run_python(code: str, environment=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )


def test_torchvision_imports_after_the_mend():
    done = run_python(
        "import lotlens.vision, torchvision, sys\n"
        "from torchvision.transforms import v2\n"
        "import timm\n"
        "import torch\n"
        "stands_in = sys.modules['torchvision._meta_registrations'].__spec__ is None\n"
        "assert stands_in == (torch.version.cuda is None), stands_in\n"
        "print('fine')"
    )
    assert done.stdout.strip() == "fine", done.stderr


def test_nothing_is_put_in_beside_a_cuda_torch():
    done = run_python(
        "import torch, sys\n"
        "torch.version.cuda = '13.0'\n"
        "from lotlens.vision.compat import mend_torchvision\n"
        "sys.modules.pop('torchvision._meta_registrations', None)\n"
        "print(mend_torchvision(), 'torchvision._meta_registrations' in sys.modules)"
    )
    # Importing the room itself ran with the faked version too, so nothing was ever put in.
    assert done.stdout.strip() == "False False", done.stderr


def test_torch_operators_that_lotlens_uses_work_here():
    import lotlens.vision  # noqa: F401  # isort: skip
    from torchvision.transforms import v2

    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    assert v2.RandomHorizontalFlip(1.0)(image).shape == (3, 8, 8)


def test_without_torch_the_error_says_what_to_install():
    done = run_python(
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torch':\n"
        "            raise ModuleNotFoundError('No module named torch', name=name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import lotlens\n"
        "from lotlens.errors import MissingExtra\n"
        "try:\n"
        "    lotlens.train('nowhere')\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    assert re.search(r"run  pip install .*\[train\]'", done.stdout), done.stderr


@pytest.mark.parametrize(
    ("given", "spins", "stays"),
    [
        ({}, "10000", "1"),
        ({"GOMP_SPINCOUNT": "7", "ORT_DISABLE_TELEMETRY": "0"}, "7", "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None", "1"),
    ],
)
def test_threads_spin_shortly_and_onnxruntime_reports_nothing_unless_the_user_says_otherwise(
    given, spins, stays
):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "ORT_DISABLE_TELEMETRY")
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    code = (
        "import os, sys, lotlens.vision\n"
        "print(os.environ.get('GOMP_SPINCOUNT'), os.environ['ORT_DISABLE_TELEMETRY'])\n"
        "print('onnxruntime' in sys.modules)"
    )
    done = run_python(code, environment)
    assert done.stdout.split() == [spins, stays, "False"], done.stderr
