"""Optimisers by name: torch's own and timm's; it knows parameter groups, not networks."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

from timm.optim import (  # type: ignore[attr-defined]
    create_optimizer_v2,
    get_optimizer_info,
    list_optimizers,
)
from torch.optim import SGD, Adam, Adamax, AdamW, NAdam, Optimizer

from lotlens.errors import InputError
from lotlens.recipes.schema import OPTIMISERS
from lotlens.recipes.schema import Optimiser as OptimiserRecipe

_TIMM = "timm:"
# A resumed run of these ends in other weights than an uninterrupted one (measured, timm 1.0.31).
_NOT_RESUMABLE = ("kron", "kronc", "kronw")


def build_optimiser(
    groups: list[dict[str, Any]], optimiser: OptimiserRecipe, lr: float, *, fused: bool = True
) -> Optimizer:
    """The optimiser that a recipe names, over parameter groups.

    Args:
        groups: parameter groups ("params" and, if they have their own, "lr" and "weight_decay").
        optimiser: name, weight decay and momentum; the layer decay is already in `groups`.
        lr: learning rate of groups without their own.
        fused: all parameters in one pass where torch has that (adam, adamw, amsgrad, sgd), which
            is faster. Lightning refuses to clip the gradients of a fused optimiser under mixed
            precision: pass False there.

    Raises:
        InputError: there is no such optimiser, or it does not take these settings.
    """
    complaint = check_optimiser(optimiser.name)
    if complaint:
        raise InputError(f"optimiser.name: {complaint}")
    decay, momentum = optimiser.decay, optimiser.momentum
    if optimiser.name.startswith(_TIMM):
        name = optimiser.name.removeprefix(_TIMM)
        try:
            timm_optimiser: Optimizer = create_optimizer_v2(
                groups, name, lr=lr, weight_decay=decay, momentum=momentum
            )
        except ValueError as error:
            raise InputError(
                f"optimiser: {optimiser.name} cannot have weight_decay = {decay:g} and"
                f" momentum = {momentum:g}: {error}"
            ) from error
        return timm_optimiser
    kinds: dict[str, Callable[..., Optimizer]] = {
        "adam": partial(Adam, fused=fused),
        "adamw": partial(AdamW, fused=fused),
        "amsgrad": partial(Adam, amsgrad=True, fused=fused),
        "nadam": NAdam,
        "adamax": Adamax,
        "sgd": partial(SGD, momentum=momentum, nesterov=momentum > 0, fused=fused),
    }
    return kinds[optimiser.name](groups, lr=lr, weight_decay=decay)


def check_optimiser(name: str) -> str | None:
    """A sentence if a recipe cannot have the optimiser `name`, with the likely correction.

    Of timm's, those are left out that need CUDA and a further package (APEX, bitsandbytes), second
    derivatives (AdaHessian), or that do not go on after a stop as if there had been none (Kron).
    """
    if not name.startswith(_TIMM):
        known = f"{', '.join(OPTIMISERS)} or timm:NAME"
        return None if name in OPTIMISERS else f"{name!r} is not {known}{_hint(name, OPTIMISERS)}"
    timm_names = [str(each) for each in list_optimizers()]
    bare_name = name.removeprefix(_TIMM)
    if bare_name not in timm_names:
        usable = [f"{_TIMM}{each}" for each in timm_names if _is_usable(each)]
        return f"timm has no optimiser {bare_name!r}{_hint(name, usable)}"
    if not _is_usable(bare_name):
        return (
            f"{name} cannot be used: it needs a package for CUDA or second derivatives, or cannot"
            " be resumed exactly; take another"
        )
    return None


def _is_usable(timm_name: str) -> bool:
    info = get_optimizer_info(timm_name)
    # timm holds classes of other packages by their path, as text.
    is_elsewhere = isinstance(info.opt_class, str)
    return not (is_elsewhere or info.second_order or timm_name in _NOT_RESUMABLE)


def _hint(word: str, known: list[str] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
