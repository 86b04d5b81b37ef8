"""The network that tells vehicles from other things; it knows ImageNet's classes, not photos.

EfficientNet-Lite0 as its package has it, with its thousand classes summed up to a few. It is
neither probed nor fine-tuned, and the same beside every model.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from lotlens.answering.engines import EnginePredictor
from lotlens.answering.shown import REST, SHOWN_IMAGE, OpenShown, describe_shown
from lotlens.records import Predictor
from lotlens.vision.backbones import build_embedded, package_of
from lotlens.vision.engine import WORTH_EXPORTING, build_engine, export_onnx

IMAGENET: Mapping[str, tuple[int, ...]] = {
    # ambulance, amphibian, beach wagon, cab, convertible, fire engine, garbage truck, golf cart,
    # grille, half track, jeep, limousine, minibus, minivan, Model T, moving van, pickup, police
    # van, racer, recreational vehicle, school bus, snowplow, sports car, tow truck, trailer truck,
    # trolleybus. "Passenger car" (705) is one of a train.
    "vehicle": (
        *(407, 408, 436, 468, 511, 555, 569, 575, 581, 586, 609, 627, 654, 656, 661, 675),
        *(717, 734, 751, 757, 779, 803, 817, 864, 867, 874),
    ),
    "wheel": (479, 535),  # car wheel, disk brake
    "inside": (685, 785),  # odometer, seat belt
    # binder, envelope, web site, comic book, crossword puzzle, book jacket, menu
    "document": (446, 549, 916, 917, 918, 921, 922),
}
"""What ImageNet calls them, by the numbers that its classes have in the challenge of 2012."""
NUM_IMAGENET = 1000
_MANY = 40
"""Photos worth an export of this network: torch takes 45 ms for each, ONNX Runtime 16."""


class ShownNetwork(nn.Module):
    """Photos [N, 3, H, W] to logits [N, S + 1] of SHOWN and the rest, and a map [N, h * w].

    A logit is the log-sum-exp of its classes' logits, so that probabilities are sums of theirs. The
    map says how likely a vehicle is at each cell of the last one of the network, row by row: the
    head is asked there as it is of the whole photo (Zhou et al. 2016), and a whole photo's logits
    are the mean of its cells', for both the mean and the head are linear.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        named = {number for numbers in IMAGENET.values() for number in numbers}
        groups = {**IMAGENET, REST: tuple(sorted(set(range(NUM_IMAGENET)) - named))}
        self.groups = [list(groups[car.label]) for car in describe_shown().classes]

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.network.forward_features(photos)  # type: ignore[operator]
        cells = self.network.classifier(maps.flatten(2).transpose(1, 2))  # type: ignore[operator]
        logits = cells.mean(dim=1)
        summed = [torch.logsumexp(logits[:, group], dim=1) for group in self.groups]
        vehicles = cells.softmax(dim=2)[:, :, list(IMAGENET["vehicle"])].sum(dim=2)
        return torch.stack(summed, dim=1), vehicles


@lru_cache(maxsize=1)
def build_shown() -> ShownNetwork:
    """The network, in inference mode.

    Raises:
        MissingExtra: the package with its weights is not installed.
    """
    network = ShownNetwork(build_embedded("lite0")).eval()
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def find_shown() -> OpenShown | None:
    """Opens the network; None where the package with its weights is not installed."""
    return open_shown if find_spec(package_of("lite0")) is not None else None


def open_shown(num_photos: int) -> Predictor:
    """The network's predictor, for about so many photos; made once for few and once for many.

    What was asked before does not count: the same photos have the same shares, bit for bit,
    whatever a process did before.
    """
    return _open_shown(WORTH_EXPORTING if num_photos >= _MANY else 1)


@lru_cache(maxsize=2)  # the export takes a second
def _open_shown(num_photos: int) -> Predictor:
    image = SHOWN_IMAGE
    engine = build_engine(build_shown(), image.height, image.width, num_photos=num_photos)
    return EnginePredictor(engine, describe_shown())


def export_shown() -> bytes:
    """The network as an ONNX file, for photos of any size whose sides are multiples of 32.

    Its convolutions then pad every photo alike: it says what photos show at one size, and where
    their cars are at another.
    """
    return export_onnx(build_shown(), SHOWN_IMAGE.height, SHOWN_IMAGE.width, any_size=True)
