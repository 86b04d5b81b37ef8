"""What folders mean, by their names alone: parts, folds, classes; it opens nothing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

from lotlens.errors import InputError
from lotlens.photos.labels import tidy_label
from lotlens.photos.tables import list_some

PartName = Literal["train", "validation", "test"]

_PART_WORDS: dict[str, PartName] = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "testingset"), "test"),
    **dict.fromkeys(("обучение", "обучающая", "обучающие", "тренировочная"), "train"),
    **dict.fromkeys(("валидация", "валидационная", "проверка", "проверочная"), "validation"),
    **dict.fromkeys(("тест", "тестовая", "тестовые", "тестирование"), "test"),
}
# What names of parts have besides; a folder with other words may be a class.
_FILLERS = frozenset(
    [
        *("seg", "set", "images", "image", "imgs", "img", "photos", "pictures", "upload", "data"),
        *("part", "cars", "выборка", "часть", "фото", "данные"),
    ]
)
_FOLD = re.compile(r"(?:cv|k)?[ _-]?folds?[ _-]?\d+", re.IGNORECASE)
_YEAR = re.compile(r"(?:19|20)\d\d")
_STRAY_SHARE = 0.05  # of the photos below, up to which photos beside folders are strays
_FEWEST_SHARED = 2  # folders of the same names that make their parents parts
_SHARED = 0.5  # of all their folders

Path = tuple[str, ...]


@dataclass(frozen=True)
class ClassFolders:
    """Which folders are classes.

    Attributes:
        labels: folder -> its label; photos in folders below count to it.
        notes: what was decided, one sentence each.
    """

    labels: dict[Path, str]
    notes: tuple[str, ...] = ()

    @cached_property
    def _tidy(self) -> dict[Path, str]:
        return {tuple(map(tidy_label, path)): label for path, label in self.labels.items()}

    def has_top(self, name: str) -> bool:
        """Whether classes lie in a folder of this name, or it is one itself."""
        return any(path[0] == tidy_label(name) for path in self._tidy)

    def find_test_label(self, name: str) -> str | None:
        """The label of a photo of the test part, whose folders lie as those of training do.

        Or as the last of them alone do, where that is one class. The path, where training has no
        such class; None for a photo in no folder.
        """
        folders = [tidy_label(folder) for folder in name.split("/")[:-1]]
        for depth in range(1, len(folders) + 1):
            if tuple(folders[:depth]) in self._tidy:
                return self._tidy[tuple(folders[:depth])]
        if len(folders) == 1:
            named = {label for path, label in self._tidy.items() if path[-1] == folders[0]}
            if len(named) == 1:
                return named.pop()
        return "/".join(folders) or None

    def find_label(self, name: str) -> str | None:
        """The label of a photo by its path; None for one that lies in none of these folders."""
        folders = tuple(name.split("/")[:-1])
        for depth in range(1, len(folders) + 1):
            if folders[:depth] in self.labels:
                return self.labels[folders[:depth]]
        return None


def find_part(name: str) -> PartName | None:
    """The part that a folder's or an archive's name speaks of, as a whole word in any case.

    "seg_train", "Training", "TestImages" and "test_upload" do; "trainers" and "contest" do not.
    """
    parts = {_PART_WORDS[word] for word in _list_words(name) if word in _PART_WORDS}
    return parts.pop() if len(parts) == 1 else None


def find_plain_part(name: str) -> PartName | None:
    """As `find_part`, for names that have no other words but such as parts have."""
    is_plain = all(word in _PART_WORDS or word in _FILLERS for word in _list_words(name))
    return find_part(name) if is_plain else None


def place_in_part(name: str) -> tuple[PartName | None, str]:
    """The part that a photo's folders speak of, and its path without that folder.

    Right beside class folders a folder called "train" may be a class; within one it is a part.
    """
    *folders, base = name.split("/")
    for depth, folder in enumerate(folders):
        part = find_plain_part(folder)
        if part is not None and (depth or part != "train"):
            return part, "/".join([*folders[:depth], *folders[depth + 1 :], base])
    return None, name


def is_fold(name: str) -> bool:
    """Whether a folder's name is that of a fold, such as "fold0" or "Fold_3"."""
    return _FOLD.fullmatch(name) is not None


def find_strays(names: Iterable[str]) -> list[str]:
    """Photos that lie beside several folders of photos, and are too few to be of one."""
    direct: defaultdict[Path, list[str]] = defaultdict(list)
    for name in names:
        direct[tuple(name.split("/")[:-1])].append(name)
    num_below: Counter[Path] = Counter()
    tops: defaultdict[Path, set[str]] = defaultdict(set)
    for folder, here in direct.items():
        for depth in range(len(folder)):
            num_below[folder[:depth]] += len(here)
            tops[folder[:depth]].add(folder[depth])
    return sorted(
        name
        for folder, here in direct.items()
        if len(tops[folder]) > 1 and len(here) <= max(1, _STRAY_SHARE * num_below[folder])
        for name in here
    )


def find_classes(names: Sequence[str]) -> ClassFolders:
    """The class folders of photos by their paths; none where the photos lie in one folder.

    A class is the shallowest folder that holds photos itself. It is called by its last name where
    that is unique, else by its path.
    """
    roots = _find_roots(names)
    if len(roots) < 2 or () in roots:
        return ClassFolders({})
    notes = []
    lasts = Counter(tidy_label(root[-1]) for root in roots)
    labels: dict[Path, str] = {}
    for root in roots:
        last = tidy_label(root[-1])
        by_path = len(root) > 1 and (lasts[last] > 1 or last.isdecimal())
        labels[root] = "/".join(map(tidy_label, root)) if by_path else last
    deep = [root for root in roots if len(root) > 1]
    if deep:
        notes.append(
            f"a class is the folder that holds the photos: {'/'.join(deep[0])} is"
            f" {labels[deep[0]]!r}"
        )
    inner = sorted({"/".join(folder) for folder in _list_folders(names) if folder not in labels})
    if inner:
        notes.append(f"photos in folders within a class count to it ({list_some(inner, 3)})")
    return ClassFolders(labels, tuple(notes))


def find_twins(names: Sequence[str]) -> list[str]:
    """Folders side by side that hold folders of the same names: parts, whatever they are called.

    Years are no such names: each model has those.
    """
    below: defaultdict[str, set[Path]] = defaultdict(set)
    for root in _find_roots(names):
        if len(root) > 1:
            below[root[0]].add(tuple(tidy_label(name).casefold() for name in root[1:]))
    twins: set[str] = set()
    for one, other in combinations(sorted(below), 2):
        shared, either = below[one] & below[other], below[one] | below[other]
        named = [path for path in shared if not _YEAR.fullmatch(path[-1])]
        if len(named) >= _FEWEST_SHARED and len(shared) >= _SHARED * len(either):
            twins |= {one, other}
    return sorted(twins)


def refuse_twins(twins: Sequence[str], names: Sequence[str], shown: str) -> None:
    """Ask which part each of these folders is.

    Raises:
        InputError: always.
    """
    inner = sorted({root[1] for root in _find_roots(names) if root[0] == twins[0] and root[1:]})
    raise InputError(
        f"{shown}: the folders {list_some(twins)} hold folders of the same names"
        f" ({list_some(inner, 4)}), so they look like parts, not classes. If they are, rename them"
        f" to train, val and test, or name the one to use ({shown}/{twins[0]}). If they are classes"
        " and hold a folder for each car, write a CSV with the columns path, label and listing"
    )


def _find_roots(names: Iterable[str]) -> list[Path]:
    """The folders that hold photos and lie in none that does, in order."""
    folders = _list_folders(names)
    return sorted(
        folder
        for folder in folders
        if not any(folder[:depth] in folders for depth in range(len(folder)))
    )


def _list_words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W\d_]+", spaced.lower())


def _list_folders(names: Iterable[str]) -> set[Path]:
    return {tuple(name.split("/")[:-1]) for name in names}
