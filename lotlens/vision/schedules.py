"""The learning rate over a stage, as a function of the step and as torch's schedulers.

It knows schedules and optimisers, not networks or photos.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, MultiplicativeLR, ReduceLROnPlateau

from lotlens.errors import InputError
from lotlens.files import write_bytes_atomically
from lotlens.recipes.schema import (
    MONITORS,
    Constant,
    Cosine,
    Cyclic,
    Exponential,
    Function,
    OneCycle,
    Plateau,
    Schedule,
    Steps,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ScheduleFunction = Callable[[float], float]
"""Epochs done, from 0 to just below their number, to what the learning rate is multiplied by."""

# OneCycleLR's own: the rate starts at a 25th of the top and ends at a 10,000th of the start.
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = _ONE_CYCLE_START / 1e4

_FIGURE_FORMATS = (".png", ".svg")


def rate_factor(
    schedule: Schedule,
    step: int,
    *,
    num_steps: int,
    steps_per_epoch: int,
    functions: Mapping[str, ScheduleFunction] = {},
) -> float:
    """What the learning rate is multiplied by at an optimiser step; finite, never below 0.

    Shapes: cosine, Loshchilov & Hutter 2017; one-cycle, Smith & Topin 2018, as torch's OneCycleLR
    draws it; cyclic, Smith 2017, the triangles of torch's CyclicLR. Neither moves the momentum.
    A warm-up rises in a straight line and is multiplied with the shape; the cosine begins after
    it, epochs are counted from the first step.

    Args:
        schedule: which. Of a plateau this is the warm-up alone, then 1.
        step: optimiser steps done, from 0.
        num_steps: in all.
        steps_per_epoch: optimiser steps.
        functions: those that a recipe may name.

    Raises:
        InputError: no function of that name, or its value is negative or not a number.
    """
    epoch = step // steps_per_epoch
    match schedule:
        case Constant() | Plateau():
            return _warm_up(step, schedule.warmup * num_steps)
        case Cosine():
            return cosine_with_warmup(step, num_steps, schedule.warmup)
        case Exponential():
            return _warm_up(step, schedule.warmup * num_steps) * schedule.factor**epoch
        case Steps():
            num_drops = epoch // schedule.every
            return _warm_up(step, schedule.warmup * num_steps) * schedule.factor**num_drops
        case OneCycle():
            return _one_cycle(step, num_steps, schedule.peak)
        case Cyclic():
            share = step / (schedule.epochs * steps_per_epoch) % 1
            return schedule.low + (1 - schedule.low) * (1 - abs(2 * share - 1))
        case Function():
            # Schedulers look one step past the end, where a table of epochs has no row.
            done = min(step, num_steps - 1) / steps_per_epoch
            return _ask(_find_function(schedule.function, functions), schedule.function, done)
        case _:
            assert_never(schedule)


def cosine_with_warmup(step: int, num_steps: int, warmup: float) -> float:
    """Share of the top rate at a step: linear from near 0, then a cosine to 0 (SGDR 2017)."""
    num_warm = warmup * num_steps
    if step < num_warm:
        return _warm_up(step, num_warm)
    done = (step - num_warm) / max(1.0, num_steps - num_warm)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def build_schedule(
    optimiser: Optimizer,
    schedule: Schedule,
    *,
    num_steps: int,
    steps_per_epoch: int,
    functions: Mapping[str, ScheduleFunction] = {},
) -> list[dict[str, Any]]:
    """Schedulers of an optimiser as Lightning's configurations, one or two of them.

    `configure_optimizers` gives them on as `[optimiser], build_schedule(...)`.

    A plateau with a warm-up is two schedulers. Both multiply the rate by a ratio rather than set
    it, so that a cut during the warm-up lasts. Its monitor must be logged by the module.

    Args:
        optimiser: its groups' present rates are the top; they keep their proportions.
        schedule: which.
        num_steps: optimiser steps of the stage.
        steps_per_epoch: optimiser steps.
        functions: those that a recipe may name.

    Raises:
        InputError: see `rate_factor`; functions may also raise it at a later step.
    """

    def factor(step: int) -> float:
        return rate_factor(
            schedule,
            step,
            num_steps=num_steps,
            steps_per_epoch=steps_per_epoch,
            functions=functions,
        )

    if not isinstance(schedule, Plateau):
        return [{"scheduler": LambdaLR(optimiser, factor), "interval": "step"}]
    configurations: list[dict[str, Any]] = []
    if schedule.warmup:
        warm_up = MultiplicativeLR(optimiser, lambda step: factor(step) / factor(step - 1))
        for group in optimiser.param_groups:
            group["lr"] *= factor(0)
        configurations.append({"scheduler": warm_up, "interval": "step"})
    cuts = ReduceLROnPlateau(
        optimiser,
        mode=MONITORS[schedule.monitor],
        factor=schedule.factor,
        patience=schedule.patience,
        threshold=schedule.min_delta,
        threshold_mode="abs",
        eps=0.0,  # the least cut that counts: lower layers' rates are small, and all must follow
    )
    configurations.append(
        {
            "scheduler": cuts,
            "interval": "epoch",
            "monitor": schedule.monitor,
            "strict": True,
        }
    )
    return configurations


@dataclass(frozen=True)
class ScheduledStage:
    """A stage's learning rate: its schedule, the top rate, optimiser steps in all and an epoch."""

    schedule: Schedule
    lr: float
    num_steps: int
    steps_per_epoch: int


def plot_schedules(
    path: Path,
    stages: Sequence[ScheduledStage],
    *,
    functions: Mapping[str, ScheduleFunction] = {},
) -> None:
    """Draw the learning rate over the epochs of stages, one after another, as PNG or SVG.

    Args:
        path: the file to write; its ending says which.
        stages: in their order; of a plateau the cuts cannot be foreseen, only its warm-up is drawn.
        functions: those that a recipe may name.

    Raises:
        InputError: see `rate_factor`; or `path` ends in neither .png nor .svg.
        OutputError: the file cannot be written.
    """
    # Matplotlib takes a while to load, which training without plots need not wait for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    begin = 0.0
    for stage in stages:
        epochs, rates = [], []
        for step in range(stage.num_steps):
            factor = rate_factor(
                stage.schedule,
                step,
                num_steps=stage.num_steps,
                steps_per_epoch=stage.steps_per_epoch,
                functions=functions,
            )
            epochs.append(begin + step / stage.steps_per_epoch)
            rates.append(stage.lr * factor)
        axes.plot(epochs, rates, linewidth=1.8)
        begin += stage.num_steps / stage.steps_per_epoch
    names = dict.fromkeys(
        f"{stage.schedule.name}{', until it is cut' if isinstance(stage.schedule, Plateau) else ''}"
        for stage in stages
    )
    axes.set(xlabel="epoch", ylabel="learning rate of the head", title=", then ".join(names))
    if len({stage.lr for stage in stages}) > 1:
        # A later stage's rate is often a hundredth of the first one's.
        axes.set_yscale("log")
        axes.set_ylim(bottom=min(stage.lr for stage in stages) / 100)
    else:
        axes.set_ylim(bottom=0)
    axes.grid(color="#dde2e8", linewidth=0.8)
    write_figure(path, figure)


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG or SVG by the name's ending; equal figures become equal files.

    Raises:
        InputError: `path` ends in neither .png nor .svg.
        OutputError: the file cannot be written.
    """
    import matplotlib as mpl

    ending = path.suffix.lower()
    if ending not in _FIGURE_FORMATS:
        raise InputError(
            f"cannot draw {path}: {ending or 'no ending'!r} is no format for plots; end the name"
            " in .png or .svg"
        )
    buffer = io.BytesIO()
    metadata = {"Date": None} if ending == ".svg" else {}
    with mpl.rc_context({"svg.hashsalt": "lotlens"}):
        figure.savefig(buffer, format=ending[1:], dpi=144, metadata=metadata)
    write_bytes_atomically(path, buffer.getvalue())


def _warm_up(step: int, num_warm: float) -> float:
    return (step + 1) / (num_warm + 1) if step < num_warm else 1.0


def _one_cycle(step: int, num_steps: int, peak: float) -> float:
    last = max(1, num_steps - 1)
    top = max(0.0, peak * num_steps - 1)
    if step < top:
        return _cosine_between(_ONE_CYCLE_START, 1.0, step / top)
    return _cosine_between(1.0, _ONE_CYCLE_END, min(1.0, (step - top) / (last - top)))


def _cosine_between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def _find_function(name: str, functions: Mapping[str, ScheduleFunction]) -> ScheduleFunction:
    if name in functions:
        return functions[name]
    known = f"given are {', '.join(sorted(functions))}" if functions else "none was given"
    raise InputError(
        f"schedule.function: no function named {name!r}, {known}; pass it as"
        f" train(schedules={{{name!r}: ...}})"
    )


def _ask(function: ScheduleFunction, name: str, epoch: float) -> float:
    factor = float(function(epoch))
    if not (math.isfinite(factor) and factor >= 0):
        raise InputError(
            f"schedule.function: {name!r} gave {factor:g} at epoch {epoch:g}; it must give what"
            " the learning rate is multiplied by, a number of at least 0"
        )
    return factor
