"""Lists the files of folders, zips and zips within zips alike; it knows no labels and no pixels."""

from __future__ import annotations

import difflib
import os
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lotlens.errors import InputError
from lotlens.photos.archives import PhotoReader, is_hidden
from lotlens.photos.decisions import DECISIONS_SUFFIX
from lotlens.photos.tables import list_some
from lotlens.records import Locator

PHOTO_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".heic", ".heif", ".hif", ".avif"),
    ]
)
"""Endings by which photos are found where no CSV names them; how to decode, the content decides."""

_OTHER_ARCHIVES = frozenset([".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"])


@dataclass(frozen=True, slots=True)
class File:
    """A file of a place.

    Attributes:
        name: relative to the place, "/" between the parts, composed (NFC).
        locator: where its bytes lie.
    """

    name: str
    locator: Locator

    @property
    def base(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def parent(self) -> str:
        return self.name.rpartition("/")[0].rpartition("/")[2]

    @property
    def top(self) -> str:
        """The first folder of its name; empty if it lies right in the place."""
        return self.name.partition("/")[0] if "/" in self.name else ""


@dataclass(frozen=True)
class Place:
    """A folder or a zip, or a folder within one, with all files below it in order of name."""

    shown: str
    files: tuple[File, ...]

    def narrow(self, folder: str) -> Place:
        """What lies in this folder of it, named from there."""
        head = folder + "/"
        files = (
            File(file.name.removeprefix(head), file.locator)
            for file in self.files
            if file.name.startswith(head)
        )
        return Place(f"{self.shown}/{folder}", tuple(files))

    def photos(self) -> list[File]:
        return [file for file in self.files if is_photo_name(file.name)]

    def tables(self) -> list[File]:
        """CSV files right here."""
        return [file for file in self.files if not file.top and file.name.lower().endswith(".csv")]

    def zips(self) -> list[File]:
        return [file for file in self.files if file.name.lower().endswith(".zip")]

    def folders(self) -> list[str]:
        return sorted({file.top for file in self.files if file.top})

    def find(self, names: Sequence[str]) -> File | None:
        """The file right here with the first of these lower-case names, in any case."""
        here = {file.name.lower(): file for file in self.files if not file.top}
        return next((here[name] for name in names if name in here), None)

    def describe(self) -> str:
        """What is right here, for messages."""
        here = {file.top + "/" if file.top else file.name for file in self.files}
        return list_some(sorted(here), 8) if here else "nothing"


def open_place(path: Path, reader: PhotoReader) -> Place:
    """A folder or zip on disk.

    Raises:
        InputError: a folder that cannot be listed, or a zip that cannot be trusted.
    """
    if path.is_dir():
        return Place(str(path), tuple(sorted(_walk(path), key=lambda file: file.name)))
    return open_zip(Locator(path), reader)


def open_zip(locator: Locator, reader: PhotoReader) -> Place:
    """A zip on disk or within another.

    Raises:
        InputError: as `PhotoReader.list_members`.
    """
    files = (
        File(member.name, Locator(locator.path, (*locator.members, member.raw)))
        for member in reader.list_members(locator)
        if not _holds_decisions(member.name)
    )
    return Place(str(locator), tuple(sorted(files, key=lambda file: file.name)))


def _holds_decisions(name: str) -> bool:
    """Whether it is a file of decisions: those of a source lie in the folder that it lies in."""
    return name.lower().endswith(DECISIONS_SUFFIX)


def descend(place: Place, reader: PhotoReader) -> Place:
    """Enters wrappers: a place with one folder and nothing else, or one zip and nothing of use.

    Raises:
        InputError: the zip cannot be trusted, or is nested too deeply.
    """
    while True:
        folders, zips = place.folders(), place.zips()
        if len(folders) == 1 and all(file.top for file in place.files):
            place = place.narrow(folders[0])
        elif len(zips) == 1 and not place.photos() and not place.tables():
            place = open_zip(zips[0].locator, reader)
        else:
            return place


def find_part(place: Place, names: Sequence[str], reader: PhotoReader) -> Place | None:
    """The zip with one of these lower-case names, else the folder, in any case.

    Raises:
        InputError: the zip cannot be trusted, or is nested too deeply.
    """
    packed = place.find([f"{name}.zip" for name in names])
    if packed is not None:
        return open_zip(packed.locator, reader)
    folders = {folder.lower(): folder for folder in place.folders()}
    return next((place.narrow(folders[name]) for name in names if name in folders), None)


def find_holder(place: Place, names: Sequence[str]) -> Place | None:
    """The shallowest folder of a place that holds a file with one of these lower-case names.

    Raises:
        InputError: there are several equally deep.
    """
    found = [file.name for file in place.files if file.base.lower() in names]
    if not found:
        return None
    depth = min(name.count("/") for name in found)
    shallow = [name for name in found if name.count("/") == depth]
    holders = sorted({name.rpartition("/")[0] for name in shallow})
    if len(holders) > 1:
        raise InputError(
            f"{place.shown} has several {names[0]} ({list_some(shallow)}): name one of the folders"
        )
    return place.narrow(holders[0]) if holders[0] else place


def gather_photos(place: Place, reader: PhotoReader) -> list[File]:
    """All photos of a place. Its zips are opened if there are no photos beside them.

    Raises:
        InputError: there is none, or a zip cannot be trusted or is nested too deeply.
    """
    photos = _find_photos(place, reader)
    if not photos:
        raise InputError(
            f"no photos in {place.shown} (no file ends in {', '.join(sorted(PHOTO_SUFFIXES))});"
            f" it has: {place.describe()}"
        )
    return photos


def _find_photos(place: Place, reader: PhotoReader) -> list[File]:
    return place.photos() or [
        File(f"{packed.name}/{file.name}", file.locator)
        for packed in place.zips()
        for file in _find_photos(open_zip(packed.locator, reader), reader)
    ]


def is_photo_name(name: str) -> bool:
    """Whether a file name ends as photos do."""
    return name[name.rfind(".") :].lower() in PHOTO_SUFFIXES


def is_archive(path: Path) -> bool:
    """Whether a file is a zip, by its ending or, if it does not end as a photo, by its content.

    Raises:
        InputError: it is an archive of another kind.
    """
    suffix = path.suffix.lower()
    if suffix in _OTHER_ARCHIVES:
        raise InputError(
            f"{path} is a {suffix} archive, which is not read: unpack it, or make a zip"
        )
    return suffix == ".zip" or (suffix not in PHOTO_SUFFIXES and zipfile.is_zipfile(path))


def require_path(path: Path) -> None:
    """Makes sure that there is something at a path.

    Raises:
        InputError: there is not; tells what is nearby.
    """
    try:
        if path.exists():
            return
        parent = path.absolute().parent
        while not parent.is_dir():
            parent = parent.parent
        nearby = sorted(entry.name for entry in parent.iterdir() if not is_hidden(entry.name))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    wanted = path.absolute().relative_to(parent).parts[0]
    close = difflib.get_close_matches(wanted, nearby, n=1)
    if close:
        hint = f"did you mean {str(parent / close[0])!r}?"
    else:
        hint = f"{parent} has: {list_some(nearby) if nearby else 'nothing'}"
    raise InputError(f"{path} does not exist; {hint}")


def restore_name(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 came from a Russian Windows zip (cp866)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("cp866")
    return unicodedata.normalize("NFC", name)


def _walk(folder: Path) -> Iterator[File]:
    """Plain files below a folder. Linked folders are not entered: they may lead round in a ring."""

    def complain(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error

    for root, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not is_hidden(f"{name}/x")]
        inside = Path(root).relative_to(folder).as_posix()
        for name in names:
            path = Path(root, name)
            # os.walk counts pipes, sockets and dangling links as files.
            if not is_hidden(name) and not _holds_decisions(name) and path.is_file():
                shown = name if inside == "." else f"{inside}/{name}"
                yield File(restore_name(shown), Locator(path))
