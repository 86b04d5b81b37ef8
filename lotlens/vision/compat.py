"""What must be set right before torch and torchvision load; knows nothing of lotlens.

torchvision's wheels from PyPI are built for CUDA. Beside a CPU build of torch their compiled
operators cannot load, and ``torchvision._meta_registrations``, run by ``import torchvision``,
dies with "operator torchvision::nms does not exist" because it registers shapes for operators that
are not there. lotlens (and timm) use torchvision's transforms only, none of those operators, so an
empty module in its place is all it takes.

torch's OpenMP reads its settings when it is loaded. Its idle threads spin while they wait for one
another, which on a machine with other work takes the cores from the very thread they wait for.
"""

from __future__ import annotations

import os
import sys
import types
import warnings

_MODULE = "torchvision._meta_registrations"


def limit_spinning() -> None:
    """Have OpenMP's threads spin for half a millisecond at most and then sleep while they wait.

    Nothing is changed where the user has set either of OpenMP's variables for that. To be called
    before the first import of torch. libgomp, which torch's wheels for Linux bring, spins for ten
    milliseconds by default; on two cores with other work training was more than twice as fast
    with less (docs/LOG.md). Sleeping at once would cost a fifth of the speed of an idle machine.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def silence_tqdm() -> None:
    """Keep tqdm, which timm's hub imports, from asking for widgets in a notebook without them.

    To be called before the first import of timm. lotlens draws its own bars.
    """
    warnings.filterwarnings("ignore", "IProgress not found")


def mend_torchvision() -> bool:
    """Put an empty module in the place of the one that cannot be imported.

    To be called before the first import of torchvision or timm. Does nothing where torch was
    built for CUDA (there the operators load), or where torchvision is imported already.

    Returns:
        True if the empty module now stands in.

    Raises:
        MissingExtra: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        from lotlens.errors import MissingExtra

        raise MissingExtra("train", "torch") from error
    if torch.version.cuda is None and "torchvision" not in sys.modules:
        sys.modules.setdefault(_MODULE, types.ModuleType(_MODULE))
    module = sys.modules.get(_MODULE)
    return module is not None and module.__spec__ is None
