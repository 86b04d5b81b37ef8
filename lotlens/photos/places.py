"""Lists the files of folders, zips and zips within zips alike; it knows no labels and no pixels."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from lotlens.errors import InputError
from lotlens.photos.addresses import is_folder, list_files, tell_address
from lotlens.photos.archives import PhotoReader, is_hidden
from lotlens.photos.decisions import DECISIONS_SUFFIX
from lotlens.photos.formats import NUM_TELLING, name_stranger, recognise
from lotlens.photos.tables import list_some
from lotlens.records import Locator

PHOTO_SUFFIXES = frozenset(
    [
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
        *(".heic", ".heif", ".hif", ".avif", ".mpo", ".jp2", ".j2k", ".jpf", ".jpx", ".tga"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    ]
)
"""Endings of photos: such a file is one, if perhaps a broken one. Of others the content decides."""

_TABLE_SUFFIXES = (".csv", ".tsv")
_OTHER_ARCHIVES = frozenset([".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"])


@dataclass(frozen=True, slots=True)
class File:
    """A file of a place.

    Attributes:
        name: relative to the place, "/" between the parts, composed (NFC).
        locator: where its bytes lie.
        is_photo: by its ending or, if it has none that photos have, by its first bytes.
    """

    name: str
    locator: Locator
    is_photo: bool = False

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
            File(file.name.removeprefix(head), file.locator, file.is_photo)
            for file in self.files
            if file.name.startswith(head)
        )
        return Place(f"{self.shown}/{folder}", tuple(files))

    def photos(self) -> list[File]:
        return [file for file in self.files if file.is_photo]

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


class Survey:
    """What was met on the way through people's files, so that none of it is lost in silence.

    Attributes:
        reader: by which zips are opened.
        listed: every file of the places that were opened -> its name.
        used: tables and zips that were read.
        hidden: kind of a system's own files -> how many were passed over.
        repeated: (reason, kind) of members of zips that later ones take the place of -> how many.
        links: folders that are links, with what became of them.
        notes: what else was decided, one sentence each.
    """

    def __init__(self, reader: PhotoReader) -> None:
        self.reader = reader
        self.listed: dict[Locator, str] = {}
        self.used: set[Locator] = set()
        self.hidden: Counter[str] = Counter()
        self.repeated: Counter[tuple[str, str]] = Counter()
        self.links: list[str] = []
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        """Keep a sentence on what was decided, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def list_file(self, name: str, locator: Locator) -> File:
        """A file that was met."""
        self.listed[locator] = name
        return File(name, locator, self._is_photo(name, locator))

    def describe(self, locator: Locator) -> str:
        """What a file is that is no photo."""
        return name_stranger(self.reader.peek(locator, NUM_TELLING))

    def _is_photo(self, name: str, locator: Locator) -> bool:
        if is_photo_name(name):
            return True
        if name.lower().endswith((*_TABLE_SUFFIXES, ".zip")):
            return False
        return recognise(self.reader.peek(locator, NUM_TELLING)) is not None


def open_place(source: Path | str, survey: Survey) -> Place:
    """A folder or zip on disk, or at an address.

    Raises:
        InputError: a folder that cannot be listed, or a zip that cannot be trusted.
        MissingExtra: an address, and no fsspec to read it.
    """
    if not isinstance(source, Path):
        if not is_folder(source):
            return open_zip(Locator(source), survey)
        files = _list_address(source, survey)
    elif source.is_dir():
        files = _walk(source, survey)
    else:
        return open_zip(Locator(source), survey)
    return Place(str(source), tuple(sorted(files, key=lambda file: file.name)))


def is_lone_file(source: Path | str) -> bool:
    """Whether a photo or table lies there, and no folder or zip.

    Raises:
        InputError: nothing is there, or an archive of another kind.
        MissingExtra: as `open_place`.
    """
    if isinstance(source, Path):
        require_path(source)
        return source.is_file() and not is_archive(source)
    # At an address the ending alone tells a zip from a photo.
    return not is_folder(source) and not is_archive(PurePosixPath(source), source)


def open_zip(locator: Locator, survey: Survey) -> Place:
    """A zip on disk or within another.

    Raises:
        InputError: as `PhotoReader.list_members`.
    """
    files = [
        survey.list_file(member.name, Locator(locator.file, (*locator.members, member.raw)))
        for member in survey.reader.list_members(locator)
        if not _holds_decisions(member.name)
    ]
    if locator not in survey.used:
        survey.hidden.update(map(_name_hidden, survey.reader.list_hidden(locator)))
        _tell_repeated(locator, survey)
        survey.used.add(locator)
    return Place(str(locator), tuple(sorted(files, key=lambda file: file.name)))


def _tell_repeated(locator: Locator, survey: Survey) -> None:
    repeated = survey.reader.list_repeated(locator)
    for name, is_same in repeated:
        how = "the same" if is_same else "with other contents"
        survey.repeated[f"twice in a zip, {how}: the last is read", name_kind(name)] += 1
    differing = list(dict.fromkeys(name for name, is_same in repeated if not is_same))
    if differing:
        survey.note(
            f"{locator} holds {list_some(differing, 3)} more than once, with different contents:"
            " the last one is read"
        )


def _holds_decisions(name: str) -> bool:
    """Whether it is a file of decisions: those of a source lie in the folder that it lies in."""
    return name.lower().endswith(DECISIONS_SUFFIX)


def descend(place: Place, survey: Survey, is_meant: Callable[[str], bool] | None = None) -> Place:
    """Enters wrappers: a place with one folder and nothing else, or one zip and nothing of use.

    Args:
        place: to begin with.
        survey: by which zips are opened.
        is_meant: whether a folder of this name is no wrapper; None if each is one.

    Raises:
        InputError: the zip cannot be trusted, or is nested too deeply.
    """
    while True:
        folders, zips = place.folders(), place.zips()
        is_wrapped = len(folders) == 1 and all(file.top for file in place.files)
        if is_wrapped and not (is_meant and is_meant(folders[0])):
            place = place.narrow(folders[0])
        elif len(zips) == 1 and not place.photos() and not place.tables():
            place = open_zip(zips[0].locator, survey)
        else:
            return place


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


def gather_photos(place: Place, survey: Survey) -> list[File]:
    """All photos of a place. Its zips are opened if there are no photos beside them.

    Raises:
        InputError: there is none, or a zip cannot be trusted or is nested too deeply.
    """
    photos = _find_photos(place, survey)
    if not photos:
        raise InputError(
            f"no photos in {place.shown}: no file ends or begins as one does; it has:"
            f" {place.describe()}"
        )
    return photos


def _find_photos(place: Place, survey: Survey) -> list[File]:
    return place.photos() or [
        File(f"{packed.name}/{file.name}", file.locator, is_photo=True)
        for packed in place.zips()
        for file in _find_photos(open_zip(packed.locator, survey), survey)
    ]


def is_photo_name(name: str) -> bool:
    """Whether a file name ends as photos do."""
    return name[name.rfind(".") :].lower() in PHOTO_SUFFIXES


def is_archive(path: PurePath, shown: str = "") -> bool:
    """Whether a file is a zip, by its ending or, if it does not end as a photo, by its content.

    Of a pure path, which is of no file on this machine, by its ending alone.

    Raises:
        InputError: it is an archive of another kind.
    """
    suffix = path.suffix.lower()
    if suffix in _OTHER_ARCHIVES:
        raise InputError(
            f"{shown or path} is a {suffix} archive, which is not read: unpack it, or make a zip"
        )
    if suffix == ".zip" or suffix in PHOTO_SUFFIXES or not isinstance(path, Path):
        return suffix == ".zip"
    return zipfile.is_zipfile(path)


def require_path(path: Path, *, is_address_read: bool = False) -> None:
    """Makes sure that there is something at a path.

    Args:
        path: as a person wrote it.
        is_address_read: whether an address could have been given in its place.

    Raises:
        InputError: there is not; tells what is nearby.
    """
    try:
        if path.exists():
            return
        if told := tell_address(path, is_read=is_address_read):
            raise InputError(told)
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
        raw = os.fsencode(name)
        try:
            name = raw.decode()  # where the system's own encoding is ASCII
        except UnicodeDecodeError:
            name = raw.decode("cp866")
    return unicodedata.normalize("NFC", name)


def name_below(locator: Locator, sources: Sequence[Path | str]) -> str:
    """Where a photo lies below the source that has it; of several, the source's name is part of it.

    An id will not do: it has no folders where names alone tell photos apart.
    """
    path = locator.path
    for source in map(Path, sources):
        if path.is_relative_to(source):
            path = path.relative_to(source.parent if len(sources) > 1 else source)
            break
    parts = (*path.parts, *locator.members) or (locator.path.name,)
    return restore_name("/".join(parts))


def name_kind(name: str) -> str:
    """What files are counted by: their ending."""
    found = re.search(r"\.\w{1,12}\Z", name.rpartition("/")[2])
    return found.group().lower() if found and found.start() else "without an ending"


def _name_hidden(name: str) -> str:
    """What hidden files are counted by: the folder that hides them, or their own name."""
    parts = name.split("/")
    for depth, part in enumerate(parts[:-1]):
        if is_hidden("/".join(parts[: depth + 1]) + "/x"):
            return f"{part}/"
    base = parts[-1]
    if base.startswith("._"):
        return "._*"
    return base if is_hidden(base) else "links in a zip"


def _walk(folder: Path, survey: Survey) -> Iterator[File]:
    """Plain files below a folder, those of linked folders last. No folder is entered twice."""
    seen: set[tuple[int, int]] = set()
    waiting, linked = deque([(folder, "")]), deque[tuple[Path, str]]()
    while waiting or linked:
        path, inside = waiting.popleft() if waiting else linked.popleft()
        is_link = bool(inside) and path.is_symlink()
        mark = path.stat()
        is_seen = (mark.st_dev, mark.st_ino) in seen or (is_link and _holds(path, folder))
        if is_link:
            fate = "not followed, since it is looked at already" if is_seen else "followed"
            survey.links.append(f"{inside[:-1]} leads to {os.readlink(path)}: {fate}")
        if is_seen:
            continue
        seen.add((mark.st_dev, mark.st_ino))
        for entry in _list_folder(path):
            name = restore_name(entry.name)
            if is_hidden(f"{name}/x" if entry.is_dir() else name):
                survey.hidden[_name_hidden(f"{name}/x" if entry.is_dir() else name)] += (
                    _count_files(Path(entry.path)) if entry.is_dir() else 1
                )
            elif entry.is_dir():
                place = linked if entry.is_symlink() else waiting
                place.append((Path(entry.path), f"{inside}{name}/"))
            # Pipes, sockets and dangling links are no files.
            elif entry.is_file() and not _holds_decisions(name):
                yield survey.list_file(inside + name, Locator(Path(entry.path)))
            elif not _holds_decisions(name):
                survey.hidden["links to nowhere" if entry.is_symlink() else "pipes, devices"] += 1


def _list_address(address: str, survey: Survey) -> Iterator[File]:
    """The files below an address."""
    for name, place in list_files(address):
        if is_hidden(name):
            survey.hidden[_name_hidden(name)] += 1
        elif not _holds_decisions(name):
            yield survey.list_file(unicodedata.normalize("NFC", name), Locator(place))


def _list_folder(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be read: {error.strerror}") from error


def _holds(link: Path, folder: Path) -> bool:
    """Whether a link leads to a folder that holds this one: following it would lead round."""
    return folder.resolve().is_relative_to(link.resolve())


def _count_files(folder: Path) -> int:
    if folder.is_symlink():
        return 1
    return sum(len(names) for _, _, names in os.walk(folder))
