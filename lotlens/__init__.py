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
    from lotlens.deliver.model import Model, load
    from lotlens.drawn.lot import draw_lot
    from lotlens.errors import LotlensError, RecipeError
    from lotlens.improve.vetting import Vetting
    from lotlens.judge.judged import Evaluation
    from lotlens.photos.sources import open_lot, open_photos
    from lotlens.recipes.loading import load_recipe
    from lotlens.recipes.schema import Recipe
    from lotlens.records import Reading
    from lotlens.sweep.tables import Sweep
    from lotlens.verbs.audit import run_audit
    from lotlens.verbs.compare import compare
    from lotlens.verbs.demo import demonstrate
    from lotlens.verbs.ensemble import build_ensemble
    from lotlens.verbs.evaluate import evaluate
    from lotlens.verbs.lr_find import find_rate
    from lotlens.verbs.outside import vet_outside
    from lotlens.verbs.predict import predict
    from lotlens.verbs.refusal import RefusalChoice, set_refusal
    from lotlens.verbs.split import split
    from lotlens.verbs.sweep import run_sweep
    from lotlens.verbs.train import plan, train
    from lotlens.verbs.views import adopt_views

__all__ = [
    "Evaluation",
    "LotlensError",
    "Model",
    "Reading",
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
    "Evaluation": "judge.judged",
    "LotlensError": "errors",
    "Model": "deliver.model",
    "Reading": "records",
    "Recipe": "recipes.schema",
    "RecipeError": "errors",
    "RefusalChoice": "verbs.refusal",
    "Sweep": "sweep.tables",
    "Vetting": "improve.vetting",
    "adopt_views": "verbs.views",
    "build_ensemble": "verbs.ensemble",
    "compare": "verbs.compare",
    "demonstrate": "verbs.demo",
    "draw_lot": "drawn.lot",
    "evaluate": "verbs.evaluate",
    "find_rate": "verbs.lr_find",
    "load": "deliver.model",
    "load_recipe": "recipes.loading",
    "open_lot": "photos.sources",
    "open_photos": "photos.sources",
    "plan": "verbs.train",
    "predict": "verbs.predict",
    "run_audit": "verbs.audit",
    "run_sweep": "verbs.sweep",
    "set_refusal": "verbs.refusal",
    "split": "verbs.split",
    "train": "verbs.train",
    "vet_outside": "verbs.outside",
}
_MODULES = {"evidence": "verbs.doubts", "rounds": "verbs.improve"}
"""Names that `from lotlens import evidence, rounds` goes on to find, for `evidence.doubt`,
`rounds.plan_round` and `rounds.improve`; what else those modules held is not promised there."""


def __getattr__(name: str) -> Any:
    """Import a verb when it is first used: `import lotlens` alone costs next to nothing."""
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"lotlens.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"lotlens.{_MODULES[name]}")
    raise AttributeError(f"module 'lotlens' has no attribute {name!r}")
