"""lotlens learns to tell car models from photographs.

The verbs of the command line are functions here, loaded when first used::

    import lotlens

    model = lotlens.train("lot", recipe="quick")
    frame = lotlens.load(model.run.path).predict("photos.zip")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lotlens.version import __version__

if TYPE_CHECKING:
    from lotlens.api import (
        Evaluation,
        RefusalChoice,
        Vetting,
        adopt_views,
        compare,
        demonstrate,
        evaluate,
        find_rate,
        plan,
        run_audit,
        set_refusal,
        split,
        train,
        vet_outside,
    )
    from lotlens.ensemble import build_ensemble
    from lotlens.errors import LotlensError, RecipeError
    from lotlens.model import Model, load, predict
    from lotlens.photos.sample import draw_lot
    from lotlens.photos.sources import open_lot, open_photos
    from lotlens.recipe import Recipe, load_recipe
    from lotlens.sweep import Sweep, run_sweep

__all__ = [
    "Evaluation",
    "LotlensError",
    "Model",
    "Recipe",
    "RecipeError",
    "RefusalChoice",
    "Sweep",
    "Vetting",
    "__version__",
    "adopt_views",
    "build_ensemble",
    "compare",
    "demonstrate",
    "draw_lot",
    "evaluate",
    "find_rate",
    "load",
    "load_recipe",
    "open_lot",
    "open_photos",
    "plan",
    "predict",
    "run_audit",
    "run_sweep",
    "set_refusal",
    "split",
    "train",
    "vet_outside",
]

_HOMES = {
    "LotlensError": "lotlens.errors",
    "RecipeError": "lotlens.errors",
    "Recipe": "lotlens.recipe",
    "load_recipe": "lotlens.recipe",
    "open_lot": "lotlens.photos.sources",
    "open_photos": "lotlens.photos.sources",
    "draw_lot": "lotlens.photos.sample",
    "Model": "lotlens.model",
    "load": "lotlens.model",
    "predict": "lotlens.model",
    "Sweep": "lotlens.sweep",
    "build_ensemble": "lotlens.ensemble",
    "run_sweep": "lotlens.sweep",
}


def __getattr__(name: str) -> Any:
    """Import a verb when it is first used: `import lotlens` alone costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'lotlens' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES.get(name, "lotlens.api")), name)
