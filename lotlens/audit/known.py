"""What a run keeps of the photos it was trained with, so that it knows them again; in photos.npz.

It knows no labels and no parts: which photos of the run's data were learnt, the split says.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lotlens.audit.hashes import HASH_SIDE
from lotlens.audit.signs import Signs
from lotlens.errors import BundleError
from lotlens.files import write_bytes_atomically
from lotlens.photos.fingerprint import Stamp, read_stamp
from lotlens.records import OK, Locator, Photo
from lotlens.values import load_arrays

_DIGEST = 32  # bytes of a SHA-256


@dataclass(frozen=True)
class KnownPhotos:
    """Photos that a run was trained with, held out and locked ones among them.

    Attributes:
        photos: with the places where they lay, and no labels.
        signs: photo id -> its signs, as far as a copy is told by them: status, digest, size, hash.
        stamps: what their files held, of those that lay in no archive.
        added: ids of photos that are none of the run's data and were learnt beside them.
    """

    photos: tuple[Photo, ...] = ()
    signs: Mapping[str, Signs] = field(default_factory=dict)
    stamps: tuple[Stamp, ...] = ()
    added: frozenset[str] = frozenset()

    def without_looks(self) -> KnownPhotos:
        """The same without places and hashes, which take most of the room."""
        signs = {
            id_: Signs(sign.status, sign.digest, sign.size) for id_, sign in self.signs.items()
        }
        return KnownPhotos(tuple(Photo(p.id, None) for p in self.photos), signs, (), self.added)

    def take_added(self, than: KnownPhotos) -> KnownPhotos:
        """Of the photos that are none of the run's data those that another does not know."""
        taken = self.added - {photo.id for photo in than.photos}
        photos = tuple(photo for photo in self.photos if photo.id in taken)
        signs = {photo.id: self.signs[photo.id] for photo in photos}
        return KnownPhotos(photos, signs, self.stamps, frozenset(taken))


def know_photos(
    photos: Sequence[Photo], added: Sequence[Photo], signs: Mapping[str, Signs]
) -> KnownPhotos:
    """What is to be kept of photos.

    Args:
        photos: of the run's data.
        added: others that are learnt beside them, with ids of their own.
        signs: photo id -> what was seen of it; photos without are left out.
    """
    known = tuple(
        Photo(
            one.id,
            one.locator and Locator(Path(os.path.abspath(one.locator.path)), one.locator.members),
        )
        for one in (*photos, *added)
        if one.id in signs
    )
    paths = [one.locator.path for one in known if one.locator and not one.locator.members]
    stamps = [read_stamp(path) for path in dict.fromkeys(paths)]
    return KnownPhotos(
        known,
        signs,
        tuple(stamp for stamp in stamps if stamp is not None and stamp.is_settled),
        frozenset(one.id for one in added),
    )


def join_known(many: Sequence[KnownPhotos]) -> KnownPhotos:
    """What several runs of the same data keep of them, and of others that each has learnt."""
    photos = {photo.id: photo for one in many for photo in one.photos}
    return KnownPhotos(
        tuple(photos.values()),
        {id_: sign for one in many for id_, sign in one.signs.items()},
        tuple(dict.fromkeys(stamp for one in many for stamp in one.stamps)),
        frozenset(id_ for one in many for id_ in one.added),
    )


def write_known(path: Path, known: KnownPhotos) -> None:
    """Write what is kept of photos.

    Raises:
        OutputError: the file cannot be written.
    """
    signs = [known.signs[photo.id] for photo in known.photos]
    if not signs:  # a run of before, which kept none
        return
    has_looks = any(sign.hash.any() for sign in signs)
    places = [
        None if photo.locator is None else [str(photo.locator.path), *photo.locator.members]
        for photo in known.photos
    ]
    digests = b"".join(sign.digest.ljust(_DIGEST, b"\0") for sign in signs)
    arrays: dict[str, Any] = {
        "ids": _pack([photo.id for photo in known.photos]),
        "places": _pack(places),
        "added": _pack(sorted(known.added)),
        "status": _pack([sign.status for sign in signs]),
        "digests": np.frombuffer(bytearray(digests), np.uint8).reshape(-1, _DIGEST),
        "sizes": np.array([sign.size for sign in signs], np.int64).reshape(-1, 2),
        "hashes": np.array([sign.hash for sign in signs] if has_looks else [], np.float16).reshape(
            -1, HASH_SIDE, HASH_SIDE
        ),
        "paths": _pack([stamp.path for stamp in known.stamps]),
        "stamps": np.array(
            [(stamp.size, stamp.changed_ns, stamp.crc) for stamp in known.stamps], np.int64
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
        return KnownPhotos()
    try:
        with path.open("rb") as file:
            arrays = load_arrays(file)
        ids, status, paths = (_unpack(arrays[name]) for name in ("ids", "status", "paths"))
        places = [_read_place(place) for place in _unpack_any(arrays["places"])]
        added = _unpack(arrays["added"])
        digests = _shape(arrays["digests"], np.uint8, len(ids), _DIGEST)
        hashes = arrays["hashes"]
        hashes = _shape(hashes, np.float16, len(ids) if len(hashes) else 0, HASH_SIDE, HASH_SIDE)
        sizes = _shape(arrays["sizes"], np.int64, len(ids), 2).tolist()
        stamps = _shape(arrays["stamps"], np.int64, len(paths), 3).tolist()
        if not len(status) == len(places) == len(set(ids)) == len(ids):
            raise ValueError("its parts are of different lengths")
    except Exception as error:  # whatever is wrong with it, the file is not what was written
        raise BundleError(f"{path} is damaged ({error}): restore it, or train anew") from error
    signs = {
        id_: Signs(
            status[row],
            digest if any(digest := digests[row].tobytes()) else b"",
            (sizes[row][0], sizes[row][1]),
            hashes[row] if len(hashes) else Signs(OK).hash,
        )
        for row, id_ in enumerate(ids)
    }
    return KnownPhotos(
        tuple(Photo(id_, place) for id_, place in zip(ids, places, strict=True)),
        signs,
        tuple(Stamp(name, *stamp) for name, stamp in zip(paths, stamps, strict=True)),
        frozenset(added),
    )


def _pack(values: Sequence[Any]) -> Any:
    """Texts as bytes: arrays of NumPy's own would pad all of them to the longest."""
    return np.frombuffer(bytearray(json.dumps(list(values)).encode()), np.uint8)


def _unpack_any(packed: Any) -> list[Any]:
    values = json.loads(_shape(packed, np.uint8, packed.size).tobytes())
    if not isinstance(values, list):
        raise ValueError("a list is none")
    return values


def _unpack(packed: Any) -> list[str]:
    texts = _unpack_any(packed)
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a list of texts is none")
    return texts


def _read_place(place: Any) -> Locator | None:
    if place is None:
        return None
    path, *members = place
    if not all(isinstance(part, str) for part in (path, *members)):
        raise ValueError("a place is none")
    return Locator(Path(path), tuple(members))


def _shape(array: Any, kind: Any, *shape: int) -> Any:
    if array.dtype != kind or array.shape != shape:
        raise ValueError(f"an array is of {array.dtype} and {array.shape}")
    return array
