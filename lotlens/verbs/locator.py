"""Add a detector that finds cars in photos, or say which one there is."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lotlens.deliver.detector import add_detector, added_path, has_added, read_added
from lotlens.texts import describe


@dataclass(frozen=True)
class Detector:
    """What finds cars where a recipe says `image.locate: detector`.

    Attributes:
        path: its ONNX file.
        num_bytes: how large that is.
        sha256: of the file; runs that use it, and their exports, keep it and vouch for it.
    """

    path: Path
    num_bytes: int
    sha256: str

    def __repr__(self) -> str:
        return describe("Detector", f"{self.path}, {self.num_bytes / 1e6:.1f} MB")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "path": str(self.path)}


def add_locator(path: Path | str) -> Detector:
    """Keep a detector of cars for all trainings of this user; one of before is replaced.

    Args:
        path: an ONNX file that takes `photos` [1, 3, height, width], RGB from -1 to 1, and gives
            `boxes` [N, 4], left, top, right and bottom as shares of the photo, and `scores` [N]
            from 0 to 1; or the .tgz of `npm pack @mediapipe/objectron@0.4.1675468480`, whose
            SSD-MobileNetV2 is converted.

    Raises:
        InputError: it is neither, or cannot be read.
        MissingExtra: what converts that package is not installed: lotlens[detector].
        OutputError: it cannot be written.
    """
    add_detector(Path(path))
    return _describe()


def show_locator() -> Detector | None:
    """The detector that was added; None if there is none.

    Raises:
        InputError: it cannot be read.
    """
    return _describe() if has_added() else None


def _describe() -> Detector:
    data = read_added()
    return Detector(added_path(), len(data), hashlib.sha256(data).hexdigest())
