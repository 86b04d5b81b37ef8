"""Trainings side by side on a Ray cluster; what they train, `training` and the sweep know."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from lotlens.cluster.address import open_cluster
from lotlens.cluster.crew import Bounds, Crew
from lotlens.cluster.photos import choose_witnesses
from lotlens.cluster.worker import Introduction, Witness, bear_witness, introduce
from lotlens.photos.addresses import make_absolute
from lotlens.records import Photo
from lotlens.training.jobs import Ended, call

_BOUNDS = Bounds(patience_s=math.inf)  # a fold may take a day; whoever dies is noticed by Ray
_TRAINING = ("torch", "timm", "lightning", "scikit-learn", "scipy")
"""Packages whose other versions may train otherwise."""

_Result = TypeVar("_Result")


class Trainer:
    """Does trainings, in a process of its own."""

    def introduce(self, witnesses: Sequence[Witness]) -> Introduction:
        """What this worker is, and which files it does not see as the driver does."""
        return introduce(witnesses, *_TRAINING)

    def train(self, task: Callable[[], Any]) -> Ended:
        """Do one; what it ends in lies in its folder."""
        return call(task)


class ClusterHelpers:
    """Helpers (see `training.jobs`) on a cluster: each has as many cores as this process.

    The number of threads decides the last bits of weights. A worker that dies is replaced, and its
    training goes on from what it has kept.

    Args:
        on: see `open_cluster`.
        path: of a file in the folder that is written to, which all must see.
        photos: that are trained on.
    """

    def __init__(self, on: str, path: Path, photos: Sequence[Photo]) -> None:
        self._on, self._path, self._photos = on, path, photos

    def share_out(
        self, tasks: Sequence[Callable[[], _Result]], look: Callable[[], None] | None = None
    ) -> Generator[tuple[int, _Result], None, None]:
        """See `training.jobs.Helpers`."""
        from joblib import cpu_count

        files = [
            *choose_witnesses(self._photos),
            bear_witness(make_absolute(str(self._path)), whole=True),
        ]
        with open_cluster(self._on) as ray:
            most = max(_list_cores(ray), default=1)
            cores = max(min(cpu_count(), most), 1)
            kept = {name: os.environ.get(name, str(cores)) for name in ("OMP_NUM_THREADS",)}
            kind = ray.remote(Trainer).options(
                num_cpus=cores,
                max_restarts=0,
                max_task_retries=0,
                runtime_env={"env_vars": {**kept, "LOKY_MAX_CPU_COUNT": str(cpu_count())}},
            )
            crew = Crew(
                ray,
                kind.remote,
                files,
                _BOUNDS,
                count=lambda: max(sum(own // cores for own in _list_cores(ray)), 1),
                in_hand=1,
                versions=_TRAINING,
                look=look,
            )
            with closing(crew.share_out("train", len(tasks), tasks.__getitem__)) as results:
                for number, ended in results:
                    yield number, ended.take()


def _list_cores(ray: Any) -> list[int]:
    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node.get("Alive")]
