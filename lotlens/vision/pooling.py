"""Maps of a network to features; it knows tensors, no network and no photos."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

NUM_DIRECTIONS = 48
"""As good as 64 and 96 and better than 32 on other cars than those lotlens is judged by."""
NUM_FOR_DIRECTIONS = 128
"""Photos that show the directions, 27,000 places of them: more did no better."""
_NUM_ITERATIONS = 5
_LEAST_TRACE = 1e-3
"""Far above rounding, far below any photo's: maps vary by about 1, and a trace sums over places."""


class CovariancePool(nn.Module):
    """What goes together in a photo: the square root of the covariance of its places.

    Second-order pooling with matrix square root normalisation, which tells apart models of cars
    that averaged maps confuse (Li et al. 2018, "Towards faster training of global covariance
    pooling networks by iterative matrix square root normalization"): places [C] are projected to
    D directions, their covariance over the photo is divided by its trace, and Newton's and
    Schulz's iteration takes the square root, which keeps a few strong directions from drowning
    the rest. Features are its upper triangle, scaled so that their mean square is near 1
    wherever the maps vary.

    Attributes:
        directions: [D, C], rows of length 1; drawn from torch's global generator until
            `fit_directions` finds those of photos. They are not trained.
        num_features: F, D (D + 1) / 2.
    """

    directions: Tensor
    place: Tensor
    factor: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        num_directions = min(NUM_DIRECTIONS, num_channels)
        drawn = nn.init.orthogonal_(torch.empty(num_directions, num_channels))
        self.register_buffer("directions", drawn)
        rows, columns = torch.triu_indices(num_directions, num_directions)
        self.num_features = len(rows)
        # Off the diagonal every number stands for two. The sum of squares of all D x D is 1.
        factor = torch.where(rows == columns, 1.0, math.sqrt(2)) * math.sqrt(self.num_features)
        self.register_buffer("place", rows * num_directions + columns, persistent=False)
        self.register_buffer("factor", factor, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """[N, C, H, W] to [N, F]."""
        # Sixteen bits are too few for an iteration.
        with torch.autocast(maps.device.type, enabled=False):
            places = torch.matmul(self.directions, maps.float().flatten(2))
            places = places - places.mean(2, keepdim=True)
            covariance = places @ places.transpose(1, 2)
            identity = torch.eye(len(self.directions), device=maps.device)
            trace = (covariance * identity).sum((1, 2), keepdim=True)
            root, inverse = covariance / (trace + _LEAST_TRACE), identity
            for _ in range(_NUM_ITERATIONS):
                step = 1.5 * identity - 0.5 * (inverse @ root)
                root, inverse = root @ step, step @ inverse
            features: Tensor = root.flatten(1)[:, self.place] * self.factor
        return features


def fit_directions(places: Tensor, num_directions: int) -> Tensor:
    """The directions in which places differ most: principal components.

    Args:
        places: [P, C].
        num_directions: D, C at most.

    Returns:
        [D, C], rows of length 1, the first that of the largest variance; the largest number of
        each is positive, for the sign of a component is nobody's choice.
    """
    centred = places.double() - places.double().mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    found = vectors.T.flip(0)[:num_directions]
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    directions: Tensor = (found * largest.sign()).float()
    return directions
