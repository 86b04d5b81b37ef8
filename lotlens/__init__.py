"""lotlens learns to tell car models from photographs.

The verbs of the command line are functions here under the same names, loaded when first used::

    import lotlens

    model = lotlens.train("lot", recipe="quick")
    frame = model.predict("photos.zip")
"""

from __future__ import annotations

import sys
from types import ModuleType
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
    from lotlens.verbs.audit import run_audit as audit
    from lotlens.verbs.batch import show_batch
    from lotlens.verbs.compare import compare
    from lotlens.verbs.demo import demonstrate
    from lotlens.verbs.demo import demonstrate as demo
    from lotlens.verbs.doubts import doubt as doubts
    from lotlens.verbs.ensemble import build_ensemble
    from lotlens.verbs.ensemble import build_ensemble as ensemble
    from lotlens.verbs.evaluate import evaluate
    from lotlens.verbs.export import export
    from lotlens.verbs.improve import improve, plan_round
    from lotlens.verbs.locator import locator
    from lotlens.verbs.lr_find import find_rate
    from lotlens.verbs.lr_find import find_rate as lr_find
    from lotlens.verbs.outside import vet_outside
    from lotlens.verbs.predict import predict
    from lotlens.verbs.price import price
    from lotlens.verbs.refusal import RefusalChoice, set_refusal
    from lotlens.verbs.refusal import set_refusal as refusal
    from lotlens.verbs.review import review
    from lotlens.verbs.rounds import list_rounds as rounds
    from lotlens.verbs.sample import draw_sample as sample
    from lotlens.verbs.scan import scan
    from lotlens.verbs.serve import serve
    from lotlens.verbs.split import split
    from lotlens.verbs.sweep import run_sweep
    from lotlens.verbs.sweep import run_sweep as sweep
    from lotlens.verbs.train import plan, train
    from lotlens.verbs.views import adopt_views
    from lotlens.verbs.views import adopt_views as views
    from lotlens.watching import quiet

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
    "audit",
    "build_ensemble",
    "compare",
    "demo",
    "demonstrate",
    "doubts",
    "draw_lot",
    "ensemble",
    "evaluate",
    "export",
    "find_rate",
    "improve",
    "load",
    "load_recipe",
    "locator",
    "lr_find",
    "open_lot",
    "open_photos",
    "plan",
    "plan_round",
    "predict",
    "price",
    "quiet",
    "refusal",
    "review",
    "rounds",
    "run_audit",
    "run_sweep",
    "sample",
    "scan",
    "serve",
    "set_refusal",
    "show_batch",
    "split",
    "sweep",
    "train",
    "vet_outside",
    "views",
]

_HOMES = {
    "Evaluation": "judge.judged.Evaluation",
    "LotlensError": "errors.LotlensError",
    "Model": "deliver.model.Model",
    "Reading": "records.Reading",
    "Recipe": "recipes.schema.Recipe",
    "RecipeError": "errors.RecipeError",
    "RefusalChoice": "verbs.refusal.RefusalChoice",
    "Sweep": "sweep.tables.Sweep",
    "Vetting": "improve.vetting.Vetting",
    "audit": "verbs.audit.run_audit",
    "compare": "verbs.compare.compare",
    "demo": "verbs.demo.demonstrate",
    "doubts": "verbs.doubts.doubt",
    "draw_lot": "drawn.lot.draw_lot",
    "ensemble": "verbs.ensemble.build_ensemble",
    "evaluate": "verbs.evaluate.evaluate",
    "export": "verbs.export.export",
    "improve": "verbs.improve.improve",
    "load": "deliver.model.load",
    "load_recipe": "recipes.loading.load_recipe",
    "locator": "verbs.locator.locator",
    "lr_find": "verbs.lr_find.find_rate",
    "open_lot": "photos.sources.open_lot",
    "open_photos": "photos.sources.open_photos",
    "plan": "verbs.train.plan",
    "plan_round": "verbs.improve.plan_round",
    "predict": "verbs.predict.predict",
    "price": "verbs.price.price",
    "quiet": "watching.quiet",
    "refusal": "verbs.refusal.set_refusal",
    "review": "verbs.review.review",
    "rounds": "verbs.rounds.list_rounds",
    "sample": "verbs.sample.draw_sample",
    "serve": "verbs.serve.serve",
    "scan": "verbs.scan.scan",
    "show_batch": "verbs.batch.show_batch",
    "split": "verbs.split.split",
    "sweep": "verbs.sweep.run_sweep",
    "train": "verbs.train.train",
    "vet_outside": "verbs.outside.vet_outside",
    "views": "verbs.views.adopt_views",
}
"""Public name -> where it lives."""

_EARLIER = {
    "adopt_views": "views",
    "build_ensemble": "ensemble",
    "demonstrate": "demo",
    "find_rate": "lr_find",
    "run_audit": "audit",
    "run_sweep": "sweep",
    "set_refusal": "refusal",
}
"""Names of before the verbs had those of the commands; they go on to answer, and Tab leaves them
out."""

_ROOMS = ("audit", "improve", "refusal", "sweep")
"""Verbs whose name is a room's too. Importing any module of the room makes Python put the room
under that name in `lotlens`, so the room itself is called as the verb."""

_MODULES = {"evidence": "verbs.doubts", "rounds": "verbs.improve"}
"""Names that `from lotlens import evidence, rounds` goes on to find, for `evidence.doubt`,
`rounds.plan_round` and `rounds.improve`; what else those modules held is not promised there."""


class _Callable(ModuleType):
    """A module that is called as the verb of its name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.__wrapped__(*args, **options)

    @property
    def __wrapped__(self) -> Any:
        return _find_home(self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Any:
        from inspect import signature

        return signature(self.__wrapped__)

    @property
    def __doc__(self) -> Any:  # type: ignore[override]
        return self.__wrapped__.__doc__


class _Lotlens(ModuleType):
    """The package itself; rooms that are put into it under the name of a verb become callable."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOMS and type(value) is ModuleType:
            value.__class__ = _Callable
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    """Import a verb when it is first used: `import lotlens` alone costs next to nothing."""
    from importlib import import_module

    name = _EARLIER.get(name, name)
    if name in _ROOMS:
        return import_module(f"lotlens.{name}")
    if name in _MODULES:
        module = import_module(f"lotlens.{_MODULES[name]}")
        return _name_module(name, module) if name in _HOMES else module
    if name in _HOMES:
        return _find_home(name)
    raise AttributeError(f"module 'lotlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, "__doc__", "__file__", "__name__", "__path__"} - {*_EARLIER})


def _find_home(name: str) -> Any:
    """What has this public name; a verb shows how far it is to whoever looks."""
    from importlib import import_module

    module, _, own = _HOMES[name].rpartition(".")
    found = getattr(import_module(f"lotlens.{module}"), own)
    if module.startswith("verbs."):
        from lotlens.watching import with_progress

        return with_progress(found)
    return found


def _name_module(name: str, module: ModuleType) -> ModuleType:
    """A verb that was a module of another name before: called, and asked for what that holds."""
    found = _Callable(f"lotlens.{name}")
    vars(found)["__getattr__"] = lambda asked: getattr(module, asked)
    globals()[name] = found  # the same one for whoever asks next
    return found


sys.modules[__name__].__class__ = _Lotlens
