"""What a run keeps of the photos it was trained with, so that it knows them again; in photos.npz.

It knows no labels and no parts: which of them were learnt, the split says.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lotlens.audit.hashes import HASH_SIDE
from lotlens.audit.signs import Signs
from lotlens.errors import BundleError
from lotlens.files import write_bytes_atomically
from lotlens.photos.fingerprint import Stamp, list_stamps
from lotlens.records import OK, Catalog
from lotlens.values import load_arrays

_DIGEST = 32  # bytes of a SHA-256


@dataclass(frozen=True)
class KnownPhotos:
    """Photos that a run was trained with, held out and locked ones among them.

    Attributes:
        signs: photo id -> its signs, as far as a copy is told by them: status, digest, size, hash.
        stamps: what their files held, of those that lay in no archive.
    """

    signs: Mapping[str, Signs]
    stamps: tuple[Stamp, ...]


def write_known(path: Path, signs: Mapping[str, Signs], catalog: Catalog) -> None:
    """Keep what was seen of photos.

    Args:
        path: the file.
        signs: photo id -> what was seen of it.
        catalog: the photos of the run's data, whose files are stamped.

    Raises:
        OutputError: the file cannot be written.
    """
    stamps = list_stamps(catalog)
    arrays: dict[str, Any] = {
        "ids": _pack([*signs]),
        "status": _pack([sign.status for sign in signs.values()]),
        "digests": np.frombuffer(
            b"".join(sign.digest.ljust(_DIGEST, b"\0") for sign in signs.values()), np.uint8
        ).reshape(len(signs), _DIGEST),
        "sizes": np.array([sign.size for sign in signs.values()], np.int64).reshape(-1, 2),
        "hashes": np.array([sign.hash for sign in signs.values()], np.float16).reshape(
            -1, HASH_SIDE, HASH_SIDE
        ),
        "paths": _pack([stamp.path for stamp in stamps]),
        "stamps": np.array(
            [(stamp.size, stamp.changed_ns, stamp.crc) for stamp in stamps], np.int64
        ).reshape(-1, 3),
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_bytes_atomically(path, stream.getvalue())


def read_known(path: Path) -> KnownPhotos:
    """What `write_known` wrote; nothing where there is no such file, as in runs of before.

    Raises:
        BundleError: it is damaged.
    """
    if not path.is_file():
        return KnownPhotos({}, ())
    try:
        with path.open("rb") as file:
            arrays = load_arrays(file)
        ids, status, paths = (_unpack(arrays[name]) for name in ("ids", "status", "paths"))
        digests = _shape(arrays["digests"], np.uint8, len(ids), _DIGEST)
        hashes = _shape(arrays["hashes"], np.float16, len(ids), HASH_SIDE, HASH_SIDE)
        sizes = _shape(arrays["sizes"], np.int64, len(ids), 2).tolist()
        stamps = _shape(arrays["stamps"], np.int64, len(paths), 3).tolist()
        if len(status) != len(ids):
            raise ValueError("its parts are of different lengths")
    except Exception as error:  # whatever is wrong with it, the file is not what was written
        raise BundleError(f"{path} is damaged ({error}): restore it, or train anew") from error
    signs = {
        id_: Signs(
            status[row],
            digest if any(digest := digests[row].tobytes()) else b"",
            (sizes[row][0], sizes[row][1]),
            hashes[row] if status[row] == OK else Signs(OK).hash,
        )
        for row, id_ in enumerate(ids)
    }
    return KnownPhotos(
        signs, tuple(Stamp(name, *stamp) for name, stamp in zip(paths, stamps, strict=True))
    )


def _pack(texts: Sequence[str]) -> Any:
    """Texts as bytes: arrays of NumPy's own would pad all of them to the longest."""
    return np.frombuffer(json.dumps(list(texts)).encode(), np.uint8)


def _unpack(packed: Any) -> list[str]:
    texts = json.loads(_shape(packed, np.uint8, packed.size).tobytes())
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("a list of texts is none")
    return texts


def _shape(array: Any, kind: Any, *shape: int) -> Any:
    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"an array is of {array.dtype} and {array.shape}")
    return array
