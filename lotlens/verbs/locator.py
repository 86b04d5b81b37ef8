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


def locator(path: Path | str | None = None) -> Detector | None:
    """Keep a detector of cars for all trainings of this user, or say which one there is.

    One that was added before is replaced.

    Args:
        path: an ONNX file that takes `photos` [1, 3, height, width], RGB from -1 to 1, and gives
            `boxes` [N, 4], left, top, right and bottom as shares of the photo, and `scores` [N]
            from 0 to 1; or the .tgz of `npm pack @mediapipe/objectron@0.4.1675468480`, whose
            SSD-MobileNetV2 is converted. None to add nothing.

    Returns:
        the detector that is kept; None if there is none.

    Raises:
        InputError: the file is neither, or cannot be read, or what was added is damaged.
        MissingExtra: what converts that package is not installed: lotlens[detector].
        OutputError: it cannot be written.
    """
    if path is not None:
        add_detector(Path(path))
    if not has_added():
        return None
    data = read_added()
    return Detector(added_path(), len(data), hashlib.sha256(data).hexdigest())
