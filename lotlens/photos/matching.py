"""Finds the files that ids and paths in tables mean; one way for lots and samples alike.

It knows names alone: not what lies in a file, and not what is done with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from lotlens.photos.places import File, is_photo_name
from lotlens.records import Locator

_ENDING = re.compile(r"\.[a-z]\w{1,9}\Z")
_POINT_ZERO = re.compile(r"(\d+)\.0+\Z")


class Wanted(NamedTuple):
    """What a row of a table asks for.

    Attributes:
        id: the photo's id.
        path: where a column of its own says that it lies; empty if the id is all there is.
        folders: of several files the one in a folder of one of these names is meant.
    """

    id: str
    path: str = ""
    folders: tuple[str, ...] = ()


def match_files(wanted: Sequence[Wanted], files: Sequence[File]) -> list[list[File]]:
    """For each row the files that fit it, best first; several only if nothing tells them apart.

    A row finds its file by name, else by name in any case, else without the ending. The folders of
    a path must fit as far as both sides go. Rows that find none this way are compared once more
    with the files that no row has claimed: by name with another ending or without a spreadsheet's
    ".0", else by number, so that a spreadsheet's 7 is 00007.jpg.
    """
    index = FileIndex(files)
    found = [index.find(row) for row in wanted]
    if all(found):
        return found
    claimed = {file.locator for matches in found for file in matches}
    return [
        matches or index.find_loosely(row, claimed)
        for row, matches in zip(wanted, found, strict=True)
    ]


class FileIndex:
    """Files by what they are called."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files
        self._exact = _group(files, lambda file: (file.base,))

    @cached_property
    def _in_any_case(self) -> dict[str, list[File]]:
        """Also without the ending, under a key that no file name can have."""
        return _group(self._files, lambda file: _name_loosely(file.base.casefold()))

    @cached_property
    def _by_stem(self) -> dict[str, list[File]]:
        return _group(self._files, lambda file: (_find_stem(file.base),))

    @cached_property
    def _by_number(self) -> dict[str, list[File]]:
        return _group(self._files, lambda file: _find_number(_find_stem(file.base)))

    def find(self, wanted: Wanted) -> list[File]:
        """Files of that very name, in any case, with or without the ending."""
        matches = self._find(wanted.path, wanted.folders) if wanted.path else []
        return matches or self._find(wanted.id, wanted.folders)

    def find_loosely(self, wanted: Wanted, claimed: Collection[Locator]) -> list[File]:
        """Files of nearly that name, of those that are not claimed."""
        path = tidy_path(wanted.path or wanted.id)
        stem = _find_stem(path.rpartition("/")[2])
        for files in (
            self._by_stem.get(stem, ()),
            *(self._by_number.get(number, ()) for number in _find_number(stem)),
        ):
            free = [file for file in files if file.locator not in claimed]
            fitting = _choose(free, path, wanted.folders)
            if fitting:
                return fitting
        return []

    def _find(self, text: str, folders: Collection[str]) -> list[File]:
        path = text if text in self._exact else tidy_path(text)
        base = path.rpartition("/")[2]
        files = self._exact.get(base) or self._in_any_case.get(base.casefold())
        if not files and not is_photo_name(base):
            files = self._in_any_case.get("/" + base.casefold())
        return _choose(files or [], path, folders)


def tidy_path(text: str) -> str:
    """A path as tables write it, with "/" between its parts, composed (NFC)."""
    return unicodedata.normalize("NFC", text.strip().replace("\\", "/")).removeprefix("./")


def _choose(files: Sequence[File], path: str, folders: Collection[str]) -> list[File]:
    fitting = list(files)
    if "/" in path:
        fitting = [file for file in fitting if _fit_paths(file.name, path)]
        fitting = [file for file in fitting if file.name == path] or fitting
    if len(fitting) > 1:
        # Notes and boxes of a photo often bear its name.
        fitting = [file for file in fitting if file.is_photo] or fitting
    if len(fitting) > 1:
        fitting = [file for file in fitting if file.parent in folders] or fitting
    return fitting


def _fit_paths(name: str, path: str) -> bool:
    """Whether two paths have the same folders, from the file upwards, as far as both go."""
    ours, theirs = name.casefold().split("/")[-2::-1], path.casefold().split("/")[-2::-1]
    return all(a == b for a, b in zip(ours, theirs, strict=False))


def _group(
    files: Sequence[File], list_keys: Callable[[File], Iterable[str]]
) -> dict[str, list[File]]:
    groups: dict[str, list[File]] = defaultdict(list)
    for file in files:
        for key in list_keys(file):
            groups[key].append(file)
    return dict(groups)


def _name_loosely(base: str) -> tuple[str, ...]:
    return (base, "/" + base.rpartition(".")[0]) if is_photo_name(base) else (base,)


def _find_stem(base: str) -> str:
    """A name in lower case without its ending, or without the ".0" that spreadsheets add."""
    name = base.casefold()
    whole = _POINT_ZERO.match(name)
    return whole.group(1) if whole else _ENDING.sub("", name)


def _find_number(stem: str) -> tuple[str, ...]:
    """A number without leading zeros; nothing for other names."""
    return (stem.lstrip("0") or "0",) if stem.isascii() and stem.isdecimal() else ()
