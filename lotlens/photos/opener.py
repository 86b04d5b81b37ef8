"""Recognises the layout of one source by its names and tables, step by step; it decodes nothing.

Whatever is decided is kept for the lot's `Reading`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lotlens.errors import InputError, UnreadablePhoto
from lotlens.photos.archives import is_hidden
from lotlens.photos.classes import (
    ClassNames,
    make_classes,
    read_class_names,
    settle_spellings,
)
from lotlens.photos.joining import (
    fold_rows,
    join_rows,
    label_tests,
    make_ids,
    make_unlabelled,
    match_sample,
    merge_tests,
)
from lotlens.photos.labels import (
    PLAIN_RULES,
    LabelRules,
    count_spellings,
    find_no_labels,
)
from lotlens.photos.layout import (
    PartName,
    find_classes,
    find_part,
    find_plain_part,
    find_strays,
    find_twins,
    is_fold,
    place_in_part,
    refuse_twins,
)
from lotlens.photos.matching import tidy_path
from lotlens.photos.places import (
    File,
    Place,
    Survey,
    descend,
    find_holder,
    gather_photos,
    is_lone_file,
    is_photo_name,
    name_kind,
    open_place,
    open_zip,
    require_path,
    restore_name,
)
from lotlens.photos.rows import NO_EXTRA, collect_rows
from lotlens.photos.tables import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    Table,
    list_some,
    read_sample,
    read_table,
    require_columns,
)
from lotlens.records import (
    Catalog,
    Finding,
    Locator,
    Lot,
    PassedOver,
    Photo,
    Reading,
    Sample,
)

_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_TRAIN_TABLE = ("train.csv",)
_CLASS_TABLE = ("classes.csv",)
_SAMPLE_TABLE = ("sample-submission.csv", "sample_submission.csv", "samplesubmission.csv")

_EMPTY = Catalog((), ())


@dataclass
class Opener:
    """One opening of one source, with what is found out on the way."""

    source: Path
    survey: Survey
    rules: LabelRules
    own_test: bool
    form: str = ""
    obstacle: str = ""
    where: dict[str, str] = field(default_factory=dict)
    no_labels: Mapping[str, int] = field(default_factory=dict)
    explained: set[Locator] = field(default_factory=set)  # files that findings tell of

    def tell_part(self, part: str, where: str) -> None:
        self.where[part] = where

    # --- one photo, one table ---

    def open_photo(self) -> Lot:
        if not is_photo_name(self.source.name):
            file = self.survey.list_file(self.source.name, Locator(self.source))
            if not file.is_photo:
                told = self.survey.describe(file.locator)
                raise InputError(f"{self.source} is no folder, zip, CSV or photo ({told})")
        self.form = "one photo"
        self.tell_part("test", str(self.source))
        file = File(restore_name(self.source.name), Locator(self.source), is_photo=True)
        return Lot(self.source, _EMPTY, Catalog(make_unlabelled([file]), ()))

    def open_table(self, photos: Path | None) -> Lot:
        path = self.source
        table = read_table(path)
        self.survey.used.add(Locator(path))
        require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
        names_path = path.with_name(_CLASS_TABLE[0])
        names = read_class_names(read_table(names_path)) if names_path.is_file() else None
        self.form = "a table of photos"
        if photos is None:
            photos = _find_twin(path)
        if photos is None:
            files = _follow_rows(table, path.parent, self.survey)
            if files:
                learnt, tests = _part_out(files)
                return self._join(table, learnt, tests, str(path.parent), names)
            photos = _find_neighbour(path)
            if find_part(photos.stem) == "train":  # as if the folder had been named
                return self._read_tabled(open_place(path.parent, self.survey), table)
        require_path(photos)
        place = open_place(photos, self.survey)
        learnt, tests = _part_out(_list_for_table(place, self.survey))
        return self._join(table, learnt, tests, place.shown, names)

    # --- a folder or a zip ---

    def open_place(self, place: Place) -> Lot:
        if not place.files:
            raise InputError(
                f"{place.shown} is empty{self._tell_hidden()}: it needs photos in a folder per"
                " class, or photos and a CSV with labels"
            )
        base = find_holder(place, _TRAIN_TABLE)
        if base is not None:
            file = base.find(_TRAIN_TABLE)
            assert file is not None  # noqa: S101  (the base is where it was found)
            table = self._load(file)
            require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
            return self._read_tabled(base, table)
        lists, unfit = self._find_tables(place)
        if len(lists) > 1:
            listed = list_some([table.name for table in lists])
            raise InputError(
                f"{place.shown} has several tables of photos ({listed}): name one of them"
            )
        if lists:
            return self._read_tabled(place, lists[0])
        lot = self._read_folders(place)
        if lot is not None:
            for sentence in unfit.values():
                self.survey.note(sentence)
            return lot
        for table in unfit:
            require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)  # says what it lacks
        return self._read_plain(place)

    def _find_tables(self, place: Place) -> tuple[list[Table], dict[Table, str]]:
        """Tables of photos right here; and others, each with what to tell of it."""
        lists: list[Table] = []
        unfit: dict[Table, str] = {}
        for file in place.tables():
            if not _may_list_photos(file):
                continue
            table = self._load(file, may_lack_rows=True)
            if not all(table.find_column(names) is not None for names in _ROLES):
                unfit[table] = (
                    f"{file.name} is not used: its first line"
                    f" ({list_some(table.columns)}) names no columns for the photo and its label"
                )
            elif not table.rows:
                raise InputError(f"{table.name} has a header but no rows")
            else:
                lists.append(table)
        return lists, unfit

    def _read_tabled(self, base: Place, table: Table) -> Lot:
        """A table, and photos in parts or in one place beside it."""
        is_train_table = Path(table.name.lower()).name in _TRAIN_TABLE
        names = self._load_class_names(base)
        train, validation = _name_part(base, "train"), _name_part(base, "validation")
        test = self._find_part(base, "test") if self.own_test else None
        tests: Sequence[File] = test.files if test is not None else ()
        if isinstance(train, File):
            place = self._find_part(base, "train")
            assert place is not None  # noqa: S101  (its zip is there)
            files, shown = list(place.files), place.shown
            more = self._find_part(base, "validation")
            files += _list_others(more.files if more else (), files)
        else:
            rest = _without(base, _name_part(base, "test"))
            files, inner = _part_out(_list_for_table(rest, self.survey))
            shown = _narrow_down(Place(base.shown, tuple(files))).shown
            if train is not None:
                # Named from within the part: a table may call its folder otherwise.
                learnt = Place(base.shown, tuple(files)).narrow(train).files
                held_out = [file for file in files if file.top == validation]
                files, shown = [*learnt, *_list_others(held_out, learnt)], f"{base.shown}/{train}"
            elif is_train_table and not any(file.is_photo for file in files):
                raise InputError(
                    f"{table.name} names {len(table.rows):,} photos, but {base.shown} has neither"
                    f" train.zip nor train/; it has: {base.describe()}"
                )
            if test is None and inner and self.own_test:
                test, tests = _narrow_down(Place(base.shown, tuple(inner))), inner
        self.form = "a table of photos"
        lot = self._join(table, files, tests, shown, names)
        sample = self._load_sample(base)
        lot = replace(lot, sample=sample)
        if test is None:
            return lot
        self.tell_part("test", test.shown)
        catalog, findings = match_sample(
            gather_photos(test, self.survey), sample, lot.train.classes, test.shown, strict=True
        )
        return replace(lot, test=merge_tests(catalog, lot.test), findings=lot.findings + findings)

    def _read_folders(self, place: Place) -> Lot | None:
        """Class folders, in parts or not; None where no folder is a class."""
        names = self._load_class_names(place)
        lot = self._read_class_parts(place, names)
        if lot is not None:
            return lot
        place = _narrow_down(place)
        photos = place.photos()
        paths = [file.name for file in photos]
        lot = self._read_inner_parts(place, names)
        if lot is not None:
            return lot
        strays = find_strays(paths)
        if strays:
            count = "a photo lies" if len(strays) == 1 else f"{len(strays)} photos lie"
            self.obstacle = (
                f"{count} beside the folders of photos ({list_some(strays, 3)}): if the folders"
                " are classes, move it into one of them or away"
            )
            return None
        twins = find_twins(paths)
        if twins and all(is_fold(name) for name in twins):
            return self._read_folds(place, twins, names)
        if twins:
            refuse_twins(twins, paths, place.shown)
        if not find_classes(paths).labels or _are_parts(paths):
            return None
        self.form = "a folder per class"
        self.tell_part("train", place.shown)
        return self._make_class_lot([("train", file.name, file) for file in photos], names)

    def _read_class_parts(self, place: Place, names: ClassNames | None) -> Lot | None:
        """Parts that each hold a folder per class."""
        train = self._find_part(place, "train")
        if train is None:
            narrowed = _narrow(place)
            return None if narrowed is None else self._read_class_parts(narrowed, names)
        train = descend(train, self.survey)
        folders = find_classes([file.name for file in train.photos()])
        if not folders.labels:
            return None
        test, validation = self._find_part(place, "test"), self._find_part(place, "validation")
        if test is None and validation is not None:
            test, validation = validation, None
            self.survey.note(f"{test.shown} is taken for the test part: there is no other")
        self.form = "a folder per class, in parts"
        self.tell_part("train", train.shown)
        labelled: list[tuple[PartName, str, File]]
        labelled = [("train", file.name, file) for file in train.photos()]
        if validation is not None:
            validation = descend(validation, self.survey, folders.has_top)
            self.survey.note(f"{validation.shown} joins training: lotlens draws its own validation")
            labelled += [("validation", file.name, file) for file in validation.photos()]
        if test is not None and self.own_test:
            test = descend(test, self.survey, folders.has_top)
            self.tell_part("test", test.shown)
            labelled += [("test", f.name, f) for f in gather_photos(test, self.survey)]
        return self._make_class_lot(labelled, names)

    def _read_inner_parts(self, place: Place, names: ClassNames | None) -> Lot | None:
        """Class folders with parts within them, as in CLASS/train, or a test part beside them."""
        told = [(*place_in_part(file.name), file) for file in place.photos()]
        learnt = [name for part, name, _ in told if part in ("train", None)]
        if all(part is None for part, _, _ in told) or find_twins(learnt) or find_strays(learnt):
            return None
        if not find_classes(learnt).labels:
            return None
        self.form = "a folder per class, and parts within or beside them"
        self.tell_part("train", place.shown)
        has_test = any(part == "test" for part, _, _ in told)
        if any(part == "validation" for part, _, _ in told):
            fate = "joins training" if has_test else "is taken for the test part"
            self.survey.note(f"validation {fate}: lotlens draws its own")
        labelled: list[tuple[PartName, str, File]] = []
        for part, name, file in told:
            is_test = part == "test" or (part == "validation" and not has_test)
            labelled.append(("test" if is_test else part or "train", name, file))
        if any(part == "test" for part, _, _ in labelled):
            self.tell_part("test", place.shown)
        return self._make_class_lot(labelled, names)

    def _read_folds(self, place: Place, folds: Sequence[str], names: ClassNames | None) -> Lot:
        self.form = f"a folder per class, in {len(folds)} folds"
        self.tell_part("train", place.shown)
        self.survey.note(
            f"the folds {list_some(folds, 8)} are joined: lotlens draws its own, with --set"
            f" folds={len(folds)}"
        )
        labelled: list[tuple[PartName, str, File]] = [
            ("train", file.name.partition("/")[2], file)
            for file in place.photos()
            if file.top in folds
        ]
        return self._make_class_lot(labelled, names)

    def _read_plain(self, place: Place) -> Lot:
        """Photos without labels: all are to predict."""
        sample = self._load_sample(place)
        self.form = "photos without labels"
        tables = [file.name for file in place.files if file.name.lower().endswith(".csv")]
        unused = [name for name in tables if "/" in name]
        folder = _narrow_down(place).shown
        if not self.obstacle and unused:
            self.obstacle = (
                f"tables in its folders are not looked for ({list_some(unused)}): name it"
            )
        elif not self.obstacle and not place.photos() and len(place.zips()) > 1:
            self.obstacle = "its photos lie in several zips: if each is a class, unpack them"
        elif not self.obstacle and _are_parts([file.name for file in _narrow_down(place).photos()]):
            self.obstacle = "its folders are parts by their names, and no classes lie in them"
        elif not self.obstacle and folder != str(self.source):
            self.obstacle = (
                f"all its photos lie in one folder ({Path(folder).name}), and training needs two"
                " classes or more"
            )
        if not self.own_test:
            return Lot(self.source, _EMPTY, _EMPTY, sample)
        has_train = self._find_part(place, "train") is not None
        part = self._find_part(place, "test") if sample or has_train else None
        part = part or place
        self.tell_part("test", part.shown)
        catalog, findings = match_sample(
            gather_photos(part, self.survey), sample, (), part.shown, strict=True
        )
        return Lot(self.source, _EMPTY, catalog, sample, findings)

    # --- lots of rows and of folders ---

    def _join(
        self,
        table: Table,
        files: Sequence[File],
        others: Sequence[File],
        shown: str,
        names: ClassNames | None,
    ) -> Lot:
        """Joins a table's rows with files. The label of the table counts, wherever the file lies.

        Args:
            table: of photos.
            files: among which the photos are.
            others: files of the test part, among which rows are sought that are not among `files`.
            shown: where `files` lie.
            names: of the classes.
        """
        rules = _keep_named(self.rules, names)
        collected = collect_rows(table, rules)
        for note in collected.notes:
            self.survey.note(note)
        self.no_labels = collected.no_labels
        self.tell_part("train", shown)
        counts = Counter(
            row.labels[0] for row in collected.rows if len(row.labels) == 1 and row.part != "test"
        )
        settled = settle_spellings(counts, names, rules)
        for note in settled.notes:
            self.survey.note(note)
        collected = fold_rows(collected, settled.canonical)
        joined = join_rows(
            collected, files, others, names, self.survey, table=table.name, shown=shown
        )
        if any(photo.locator for photo in joined.test):
            self.tell_part("test", self.where.get("test", shown))
        self.explained |= joined.explained
        if joined.num_from_others:
            self.survey.note(
                f"{joined.num_from_others:,} rows of the table are of photos in the test part: not"
                " learnt"
            )
        if not joined.train and self.no_labels:
            words = ", ".join(repr(word) if word else "empty" for word in self.no_labels)
            self.obstacle = f"no row of {table.base} has a label ({words})"
        findings = (*joined.findings, *settled.findings)
        classes = joined.classes
        return Lot(
            self.source,
            Catalog(joined.train, classes),
            Catalog(joined.test, classes),
            findings=findings,
        )

    def _make_class_lot(
        self, labelled: Sequence[tuple[PartName, str, File]], names: ClassNames | None
    ) -> Lot:
        """A lot of photos whose folders are their classes; test photos may lie in none.

        Args:
            labelled: part, path below the part, and the file.
            names: of the classes.
        """
        rules = _keep_named(self.rules, names)
        learnt = [one for one in labelled if one[0] != "test"]
        # Photos of the validation part that lie in no folder are of no class, and hide none.
        folders = find_classes([n for part, n, _ in learnt if part == "train" or "/" in n])
        for note in folders.notes:
            self.survey.note(note)
        for label, ways in count_spellings("/".join(path) for path in folders.labels).items():
            self.survey.note(f"{ways} folders are called {label!r} and differ in blanks: one class")
        labels = [folders.find_label(name) or "" for _, name, _ in learnt]
        none = find_no_labels(set(labels), rules)
        counts = Counter(label for label in labels if label not in none)
        settled = settle_spellings(counts, names, rules)
        for note in settled.notes:
            self.survey.note(note)
        self.no_labels = dict(Counter(label for label in labels if label in none))
        canonical = settled.canonical
        classes = make_classes(
            {canonical.get(label, label) for label in counts},
            names,
            f"the folders of {self.source}",
        )
        ids = make_ids([file for _, _, file in learnt], paths=self.survey.listed)
        train, findings = [], list(settled.findings)
        for id_, label, (_, _, file) in zip(ids, labels, learnt, strict=True):
            if label in none:
                where = f"a folder called {label!r}, which is no label" if label else "no class"
                sentence = f"It lies in {where}; left out."
                findings.append(Finding(id_, "no-label", 1.0, (), sentence))
                self.explained.add(file.locator)
            else:
                train.append(Photo(id_, file.locator, canonical.get(label, label), None, NO_EXTRA))
        tests = [(name, file) for part, name, file in labelled if part == "test"]
        known = {car.label for car in classes}
        test, strange = label_tests(tests, folders, known, canonical, self.survey.listed)
        return Lot(
            self.source,
            Catalog(tuple(train), classes),
            Catalog(test, classes),
            findings=(*findings, *strange),
        )

    # --- parts and tables ---

    def _find_part(self, place: Place, part: PartName) -> Place | None:
        """The zip or folder that is this part, by its name.

        Raises:
            InputError: several could be, or the zip cannot be trusted.
        """
        found = _name_part(place, part)
        if isinstance(found, File):
            folders = [one for one in place.folders() if find_part(one) == part]
            if folders:
                self.survey.note(f"{found.name} is read, and not {list_some(folders)} beside it")
            return open_zip(found.locator, self.survey)
        return None if found is None else place.narrow(found)

    def _load(self, file: File, *, may_lack_rows: bool = False) -> Table:
        self.survey.used.add(file.locator)
        try:
            data = self.survey.reader.read(file.locator)
        except UnreadablePhoto as error:
            raise InputError(f"{file.locator} cannot be read: {error.reason}") from error
        return read_table(data, str(file.locator), may_lack_rows=may_lack_rows)

    def _load_sample(self, place: Place) -> Sample | None:
        file = place.find(_SAMPLE_TABLE)
        return None if file is None else read_sample(self._load(file))

    def _load_class_names(self, place: Place) -> ClassNames | None:
        file = place.find(_CLASS_TABLE)
        return None if file is None else read_class_names(self._load(file))

    # --- the reading ---

    def conclude(self, lot: Lot) -> Reading:
        """What was understood, now that all is."""
        survey = self.survey
        photos = {"train": lot.train, "test": lot.test}
        parts = tuple(
            (part, self.where.get(part, ""), len(catalog.with_files()))
            for part, catalog in photos.items()
            if len(catalog)
        )
        counts = Counter(photo.label for photo in lot.train.photos if photo.locator is not None)
        return Reading(
            str(self.source),
            self.form,
            parts,
            {car.shown: counts[car.label] for car in lot.train.classes},
            self.no_labels,
            tuple(self._count_passed_over(lot)),
            tuple(survey.links),
            tuple(survey.notes),
            self.obstacle,
        )

    def _count_passed_over(self, lot: Lot) -> list[PassedOver]:
        survey = self.survey
        taken = {photo.locator for part in (lot.train, lot.test) for photo in part.photos}
        counts: Counter[tuple[str, str]] = Counter()
        for locator, name in survey.listed.items():
            if locator in taken or locator in survey.used or locator in self.explained:
                continue
            if is_photo_name(name):
                top = name.split("/")[0] + "/" if "/" in name else "photos beside them"
                counts["photos that are in no part", top] += 1
            else:
                kind = name_kind(name)
                counts[_UNUSED.get(kind, "no photos"), kind] += 1
        counts.update({("system files", kind): num for kind, num in survey.hidden.items()})
        counts.update(survey.repeated)
        ordered = sorted(counts.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))
        return [PassedOver(*key, count) for key, count in ordered]

    def _tell_hidden(self) -> str:
        count = self.survey.hidden.total()
        return f", but for {count} hidden files" if count else ""


_UNUSED = {".csv": "tables not used", ".tsv": "tables not used", ".zip": "zips not opened"}
_ROLES = (ID_COLUMNS, LABEL_COLUMNS)
_PLAIN_NAMES: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "train.zip"),
    "validation": ("val", "val.zip", "valid", "valid.zip", "validation", "validation.zip"),
    "test": ("test", "test.zip"),
}


def _may_list_photos(file: File) -> bool:
    name = file.name.lower()
    return name not in _SAMPLE_TABLE + _CLASS_TABLE and find_part(name[:-4]) != "test"


def _name_part(place: Place, part: PartName) -> File | str | None:
    """The zip, or the name of the folder, that is this part; zips come first.

    Raises:
        InputError: several could be.
    """
    zips = {
        file.base: file
        for file in place.zips()
        if not file.top and find_part(file.base.rpartition(".")[0]) == part
    }
    folders = [
        folder
        for folder in place.folders()
        if find_part(folder) == part and _has_photos(place.narrow(folder))
    ]
    names = list(zips) or folders
    if len(names) > 1:
        plain = [name for name in names if name.lower() in _PLAIN_NAMES[part]]
        if len(plain) != 1:
            raise InputError(
                f"{place.shown}: several could be the {part} part ({list_some(names)}): leave one"
                " of them there, or name it to use it alone"
            )
        names = plain
    return zips.get(names[0], names[0]) if names else None


def _has_photos(place: Place) -> bool:
    return any(file.is_photo for file in place.files) or bool(place.zips())


def _narrow(place: Place) -> Place | None:
    """The one folder that holds all the photos of a place, if there is one."""
    tops = {file.top for file in place.photos()}
    return place.narrow(tops.pop()) if len(tops) == 1 and "" not in tops else None


def _narrow_down(place: Place) -> Place:
    """The deepest folder that holds all the photos of a place."""
    narrowed = _narrow(place)
    return place if narrowed is None else _narrow_down(narrowed)


def _without(place: Place, part: File | str | None) -> Place:
    """What is left of a place without a part."""
    return Place(
        place.shown,
        tuple(file for file in place.files if file != part and (not file.top or file.top != part)),
    )


def _part_out(files: Sequence[File]) -> tuple[list[File], list[File]]:
    """Files to learn from, and those whose folders say that they are of the test part."""
    learnt: list[File] = []
    tests: list[File] = []
    for file in files:
        folders = file.name.split("/")[:-1]
        is_test = any(find_plain_part(folder) == "test" for folder in folders)
        (tests if is_test else learnt).append(file)
    if any(file.is_photo for file in learnt):
        return learnt, tests
    return list(files), []  # where all of them are, it is no part


def _list_others(files: Sequence[File], learnt: Sequence[File]) -> list[File]:
    """Files that bear no name of those that come first."""
    taken = {file.base for file in learnt}
    return [file for file in files if file.base not in taken]


def _are_parts(paths: Sequence[str]) -> bool:
    """Whether all folders of photos are parts by their names: then they are no classes."""
    folders = [name.split("/")[:-1] for name in paths]
    if not folders or not all(folders):
        return False
    tops, lasts = ({one[at] for one in folders} for at in (0, -1))
    return any(all(find_part(name) for name in names) for names in (tops, lasts))


def _keep_named(rules: LabelRules, names: ClassNames | None) -> LabelRules:
    """A class that a table of classes names is one, whatever it is called."""
    if names is None:
        return rules
    return replace(rules, keep=rules.keep | {label.casefold() for label in names.names})


# --- tables and their photos ---------------------------------------------------------------------


def _list_for_table(place: Place, survey: Survey) -> Sequence[File]:
    """All files, since a table may name photos without an ending; or the photos in the zips."""
    packed = place.zips() and not place.photos()
    return gather_photos(place, survey) if packed else place.files


def _find_twin(path: Path) -> Path | None:
    """The zip or folder of the table's own name."""
    twins = (path.with_suffix(".zip"), path.with_suffix(""))
    return next((twin for twin in twins if twin.exists()), None)


def _follow_rows(table: Table, folder: Path, survey: Survey) -> list[File]:
    """Files that a table names by their path from its own folder, and never outside of it."""
    columns = (table.find_column(PATH_COLUMNS), table.find_column(ID_COLUMNS))
    for column in dict.fromkeys(position for position in columns if position is not None):
        names = [tidy_path(row[column]) for row in table.rows]
        # A look at the first rows spares a million questions to the disk.
        if any(_find_below(folder, name) for name in names[:1000]):
            found = ((name, _find_below(folder, name)) for name in dict.fromkeys(names))
            return [survey.list_file(name, Locator(path)) for name, path in found if path]
    return []


def _find_below(folder: Path, name: str) -> Path | None:
    if not name or name.startswith("/") or ".." in name.split("/"):
        return None
    path = folder / name
    return path if os.path.isfile(path) else None


def _find_neighbour(path: Path) -> Path:
    """The only zip or folder beside a table, or the only one that is the training part."""
    beside = [
        entry
        for entry in sorted(path.parent.iterdir())
        if not is_hidden(entry.name) and (entry.is_dir() or entry.suffix.lower() == ".zip")
    ]
    train = [entry for entry in beside if find_part(entry.stem) == "train"]
    for entries in (beside, train):
        if len(entries) == 1:
            return entries[0]
    others = list_some([entry.name for entry in beside]) if beside else "nothing of that kind"
    raise InputError(
        f"no photos for {path}: beside it there is neither {path.stem}.zip nor {path.stem}/, nor"
        f" are its rows paths to files, nor is there just one zip or folder (but {others}):"
        " say where the photos are"
    )


# --- photos to predict ---------------------------------------------------------------------------


def list_unlabelled(source: Path | str, survey: Survey) -> list[File]:
    """The photos to predict at a path or an address; never none."""
    path = Path(source)
    if is_lone_file(source):
        if path.suffix.lower() in _TABLE_SUFFIXES:
            raise InputError(
                f"{source} is a table, not photos: name a folder, a zip or photo files"
            )
        return [File(restore_name(path.name), Locator(source), is_photo=True)]
    place = descend(open_place(source, survey), survey)
    base = find_holder(place, _TRAIN_TABLE) or find_holder(place, _SAMPLE_TABLE)
    opener = Opener(path, survey, PLAIN_RULES, own_test=True)
    part = opener._find_part(base or place, "test")
    if base is None and (part is None or opener._find_part(place, "train") is None):
        return gather_photos(place, survey)
    base = base or place
    if part is None:
        raise InputError(
            f"{base.shown} has no test photos (test.zip, test/ or test_upload/);"
            f" it has: {base.describe()}. Name the photos to predict themselves"
        )
    survey.note(f"of {source} the test part is answered: {part.shown}")
    return gather_photos(part, survey)


def is_table(path: Path) -> bool:
    return path.suffix.lower() in _TABLE_SUFFIXES and path.is_file()
