"""findings: all that was planted is found and nothing else; hostile files end as findings."""

import csv
import io
import json
import stat
import struct
import zipfile
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from lotlens.audit.checks import CHECKS
from lotlens.audit.findings import Audit, audit_lot, find_links, write_findings
from lotlens.audit.signs import scan_photos
from lotlens.audit.split import draw_folds, draw_split
from lotlens.audit.turns import NUM_TURNS, turn_frame
from lotlens.drawn.lot import draw_lot
from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.schema import Audit as Settings
from lotlens.records import CarClass, Catalog, Finding, Locator, Lot, Photo

COPIES = ("duplicate", "near-duplicate", "leak")


def encode(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def rotate(picture, degrees):
    """Rotated with black corners, as augmentation leaves it."""
    image = Image.fromarray(picture).rotate(degrees, Image.Resampling.BILINEAR)
    return encode(np.asarray(image), "JPEG", quality=85)


def lay(folder, files):
    """Files by name below a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def pack(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def list_found(audit, *checks):
    """(part, id, check) of the findings of these checks, or of all."""
    return sorted(
        (finding.part, finding.photo_id, finding.check)
        for finding in audit.findings
        if not checks or finding.check in checks
    )


def list_ids(audit, check):
    return {finding.photo_id for finding in audit.findings if finding.check == check}


def sentences(audit, check):
    return {f.photo_id: f.sentence for f in audit.findings if f.check == check}


# --- the sample lot ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A drawn lot, what was planted in it, and its audit."""
    path = tmp_path_factory.mktemp("lots") / "lot"
    draw_lot(path, num_train=60, num_test=30, num_workers=1)
    with (path / "faults.csv").open(encoding="utf-8", newline="") as file:
        faults = list(csv.DictReader(file))
    lot = open_lot(path)
    return lot, faults, audit_lot(lot, num_workers=1)


def list_planted(faults, fault, part=None):
    return {row["Id"] for row in faults if row["Fault"] == fault and part in (None, row["Part"])}


def pair_planted(faults):
    """The planted pairs, by the part of their source and of the copy."""
    pairs = {}
    for row in faults:
        if row["Fault"] == "near-duplicate":
            parts = frozenset([row["Part"], row["Detail"].rpartition(" ")[2]])
            pairs[frozenset([row["Id"], row["Related"]])] = parts
    return pairs


TRAIN_ONLY, BOTH = frozenset(["train"]), frozenset(["train", "test"])


def test_every_planted_copy_is_found_and_no_other_pair(sample):
    _, faults, audit = sample
    planted = pair_planted(faults)
    assert len(set(planted.values())) == 3, "within train, within test and across"
    found = {
        frozenset([finding.photo_id, related]): finding
        for finding in audit.findings
        if finding.check in COPIES
        for related in finding.related_ids
    }
    assert found.keys() == planted.keys()
    for pair, finding in found.items():
        assert (finding.check == "leak") == (planted[pair] == BOTH)
        assert finding.check != "duplicate"


def test_wrong_labels_on_copies_are_conflicts(sample):
    _, faults, audit = sample
    wrong = list_planted(faults, "wrong-label")
    tied = [p for p, parts in pair_planted(faults).items() if parts == TRAIN_ONLY and p & wrong]
    assert tied
    assert list_ids(audit, "label-conflict") == set().union(*tied)


@pytest.mark.parametrize("fault", ["unreadable", "grey"])
def test_planted_faults_of_single_photos_are_found_exactly(sample, fault):
    _, faults, audit = sample
    planted = sorted((row["Part"], row["Id"], fault) for row in faults if row["Fault"] == fault)
    assert {part for part, _, _ in planted} == {"train", "test"}
    assert list_found(audit, fault) == planted


def test_nothing_else_is_found(sample):
    _, _, audit = sample
    kinds = {finding.check for finding in audit.findings}
    assert kinds == {"near-duplicate", "leak", "label-conflict", "unreadable", "grey"}


def test_the_worst_kinds_come_first(sample):
    _, _, audit = sample
    order = [list(CHECKS).index(finding.check) for finding in audit.findings]
    assert order == sorted(order)
    severities = [CHECKS[finding.check].severity for finding in audit.findings]
    assert severities == ["error"] * audit.num_errors + ["warning"] * severities.count("warning")
    counts = audit.count()
    assert list(counts) == [name for name in CHECKS if name in counts]
    assert counts == Counter(finding.check for finding in audit.findings)


def test_counts_are_of_what_can_be_read(sample):
    lot, faults, audit = sample
    bad = list_planted(faults, "unreadable")
    assert audit.num_photos == {"train": 60, "test": 30}
    assert audit.class_counts == Counter(
        photo.label for photo in lot.train.photos if photo.id not in bad
    )
    assert sum(audit.sizes.values()) == 90 - len(bad)
    assert (320, 240) in audit.sizes


def test_by_default_copies_are_grouped_and_bad_photos_dropped(sample):
    _, faults, audit = sample
    tied = [pair for pair, parts in pair_planted(faults).items() if parts == TRAIN_ONLY]
    assert audit.groups == {id_: f"copies of {min(pair)}" for pair in tied for id_ in pair}
    conflicts = list_ids(audit, "label-conflict")
    assert audit.dropped == list_planted(faults, "unreadable", "train") | conflicts
    assert audit.actions.keys() == CHECKS.keys()
    assert all(audit.actions[check.name] == check.actions[0] for check in CHECKS.values())


def test_settings_say_what_is_dropped(sample):
    lot, faults, default = sample
    settings = Settings(label_conflict="group", leak="drop", near_duplicate="drop", grey="drop")
    audit = audit_lot(lot, settings, num_workers=1)
    assert audit.findings == default.findings
    assert audit.groups == default.groups
    copies = {photo_id for part, photo_id, _ in list_found(default, "near-duplicate", "leak")}
    copies -= {photo.id for photo in lot.test.photos}
    bad = list_planted(faults, "unreadable", "train") | list_planted(faults, "grey", "train")
    assert audit.dropped == bad | copies
    # Of each cluster the first by id stays, if it is not in test too.
    for pair, parts in pair_planted(faults).items():
        if parts == TRAIN_ONLY:
            assert pair - audit.dropped == {min(pair)}
    chosen = {name for name in CHECKS if audit.actions[name] != default.actions[name]}
    assert chosen == {"label-conflict", "leak", "near-duplicate", "grey"}


@pytest.mark.parametrize("seed", range(5))
def test_no_copies_are_on_two_sides_of_a_split(sample, seed):
    lot, faults, audit = sample
    pairs = [pair for pair, parts in pair_planted(faults).items() if parts == TRAIN_ONLY]
    options = {"seed": seed, "groups": audit.groups, "dropped": audit.dropped}
    for split in (
        draw_split(lot.train, validation=0.3, lock=0.2, **options),
        draw_folds(lot.train, num_folds=3, **options),
    ):
        part_of = {id_: part for part, ids in split.parts.items() for id_ in ids}
        assert not audit.dropped & part_of.keys()
        whole = [pair for pair in pairs if pair <= part_of.keys()]
        assert whole
        assert all(len({part_of[id_] for id_ in pair}) == 1 for pair in whole)


def test_an_audit_is_plain_values(sample):
    _, _, audit = sample
    values = json.loads(json.dumps(audit.to_dict()))
    assert values["photos"] == audit.num_photos
    assert values["errors"] == audit.num_errors > 0
    assert values["counts"] == audit.count()
    assert set(values["dropped"]) == audit.dropped
    assert values["groups"] == audit.groups
    assert {"width": 320, "height": 240, "photos": audit.sizes[320, 240]} in values["sizes"]
    assert [finding["photo_id"] for finding in values["findings"]] == [
        finding.photo_id for finding in audit.findings
    ]


def test_the_work_is_told_of(sample):
    lot, _, _ = sample
    told = []
    audit_lot(lot, num_workers=1, watch=lambda *step: told.append(step))
    looking = [step for step in told if step[0] == "looking at photos"]
    assert looking[-1][1:] == (90, 90)
    comparing = [step[1:] for step in told if step[0] == "comparing lookalikes"]
    assert comparing == sorted(comparing)
    assert comparing[-1][0] == comparing[-1][1] > 0


# --- lots of a few textures ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(texture_drawer):
    """Eight quite different pictures as PNG."""
    return [encode(texture_drawer(number)) for number in range(8)]


@pytest.fixture(scope="module")
def copy(texture_drawer):
    """The first of the pictures once more, compressed."""
    return encode(texture_drawer(0), "JPEG", quality=60)


def test_copies_in_a_folder_per_class(tmp_path, pictures, copy):
    files = {f"heron/{n}.png": pictures[n] for n in range(4)}
    files |= {f"volna/{n}.png": pictures[n] for n in range(4, 8)}
    files |= {"volna/copy.jpg": copy, "heron/twin.png": pictures[1]}
    audit = audit_lot(open_lot(lay(tmp_path / "cars", files)))
    assert list_found(audit) == [
        ("train", "0.png", "label-conflict"),
        ("train", "copy.jpg", "label-conflict"),
        ("train", "copy.jpg", "near-duplicate"),
        ("train", "twin.png", "duplicate"),
    ]
    assert audit.groups == {
        **dict.fromkeys(["0.png", "copy.jpg"], "copies of 0.png"),
        **dict.fromkeys(["1.png", "twin.png"], "copies of 1.png"),
    }
    assert audit.dropped == {"0.png", "copy.jpg"}
    assert audit.num_photos == {"train": 10, "test": 0}
    assert audit == audit_lot(open_lot(pack(tmp_path / "cars.zip", files)))
    dropping = audit_lot(
        open_lot(tmp_path / "cars"), Settings(duplicate="drop", label_conflict="group")
    )
    assert dropping.dropped == {"twin.png"}


def test_plain_photos_are_audited_as_test(tmp_path, pictures, copy):
    files = {"a.png": pictures[0], "b.png": pictures[1], "copy.jpg": copy, "empty.png": b""}
    audit = audit_lot(open_lot(lay(tmp_path, files)), lock=0.2)
    assert list_found(audit) == [
        ("test", "copy.jpg", "near-duplicate"),
        ("test", "empty.png", "unreadable"),
    ]
    assert (audit.groups, audit.dropped, audit.class_counts) == ({}, frozenset(), {})
    assert audit.num_photos == {"train": 0, "test": 4}


@pytest.mark.parametrize("num", [0, 1])
def test_lots_too_small_to_compare(tmp_path, pictures, num):
    photos = (Photo("a.png", Locator(lay(tmp_path, {"a.png": pictures[0]}) / "a.png")),)
    lot = Lot(tmp_path, Catalog((), ()), Catalog(photos[:num], ()))
    audit = audit_lot(lot)
    assert audit.findings == ()
    assert sum(audit.sizes.values()) == num


def test_an_id_in_train_and_test_is_two_photos(pictures, copy, tmp_path):
    """What is wrong with the test photo says nothing of the training photo of that name."""
    folder = lay(
        tmp_path, {"1": pictures[1], "2": b"", "3": pictures[0], "4": copy, "5": pictures[0]}
    )
    cars = (CarClass("A", "A"), CarClass("B", "B"))

    def photo(id_, name, label=None):
        return Photo(id_, Locator(folder / name), label)

    train = (photo("x", "1", "A"), photo("y", "3", "B"), photo("z", "4", "B"))
    test = (photo("x", "2"), photo("y", "1"), photo("z", "5"))
    audit = audit_lot(Lot(folder, Catalog(train, cars), Catalog(test, cars)))
    assert list_found(audit) == [
        ("test", "x", "unreadable"),
        ("train", "x", "leak"),
        ("train", "x", "rare-class"),
        ("train", "y", "leak"),
        ("train", "y", "rare-class"),
        ("train", "z", "leak"),
        ("train", "z", "near-duplicate"),
    ]
    assert audit.dropped == frozenset()
    assert audit.groups == {"y": "copies of y", "z": "copies of y"}


def test_many_copies_of_one_picture_are_one_cluster_by_few_links(tmp_path, texture_drawer):
    """Found by way of others, though not every pair was looked at."""
    picture = texture_drawer(0)
    files = {f"{q}.jpg": encode(picture, "JPEG", quality=q) for q in range(50, 90)}
    files |= {f"twin{n}.jpg": files["50.jpg"] for n in range(20)}
    lay(tmp_path, files)
    photos = [Photo(name, Locator(tmp_path / name)) for name in files]
    links = find_links(photos, scan_photos(photos))
    exact = [link for link in links if link.exact]
    assert {(link.first, link.likeness) for link in exact} == {(0, 1.0)}
    assert len(exact) == 20
    assert 39 <= len(links) - 20 < 0.5 * 40 * 39 / 2
    audit = audit_lot(Lot(tmp_path, Catalog((), ()), Catalog(tuple(photos), ())))
    assert Counter(finding.check for finding in audit.findings) == {
        "duplicate": 20,
        "near-duplicate": 39,
    }


def test_a_thumbnail_is_a_copy(tmp_path, texture_drawer):
    pictures = [Image.fromarray(texture_drawer(number, 320, 240)) for number in range(3)]
    small = pictures[1].resize((56, 42), Image.Resampling.LANCZOS)
    files = {f"{n}.png": encode(np.asarray(image)) for n, image in enumerate([*pictures, small])}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert list_found(audit) == [("test", "3.png", "near-duplicate"), ("test", "3.png", "tiny")]


@pytest.mark.parametrize("turn", range(2, NUM_TURNS))
def test_a_turned_copy_is_found_and_kept_together(tmp_path, texture_drawer, turn):
    """Turned by 90, 180 or 270 degrees, mirrored or not, saved anew."""
    pictures = [texture_drawer(number) for number in range(4)]
    turned = np.stack([turn_frame(pictures[0][:, :, k], turn) for k in range(3)], axis=2)
    files = {f"{'ab'[n % 2]}/{n}.png": encode(picture) for n, picture in enumerate(pictures)}
    files["b/turned.jpg"] = encode(turned, "JPEG", quality=80)
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert list_found(audit, *COPIES) == [("train", "turned.jpg", "near-duplicate")]
    told = sentences(audit, "near-duplicate")["turned.jpg"]
    assert told.startswith("It looks like the same picture as 0.png (likeness 0.9")
    assert audit.groups == dict.fromkeys(["0.png", "turned.jpg"], "copies of 0.png")
    assert list_ids(audit, "label-conflict") == {"0.png", "turned.jpg"}


@pytest.mark.parametrize("degrees", [2, -3])
def test_a_copy_that_is_a_little_aslant_is_found(tmp_path, texture_drawer, degrees):
    pictures = [texture_drawer(number, 320, 240) for number in range(4)]
    files = {f"{n}.png": encode(picture) for n, picture in enumerate(pictures)}
    files["aslant.jpg"] = rotate(pictures[0], degrees)
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert list_found(audit) == [("test", "aslant.jpg", "near-duplicate")]


def test_files_that_show_nothing_are_no_copies(tmp_path, pictures):
    """A failed download leaves the same few bytes under many names."""
    page = b"<html>404</html>"
    files = {
        "train.csv": b"Id,Category\n" + b"".join(b"%d.png,%d\n" % (n, n % 2) for n in range(8))
    }
    files |= {f"train/{n}.png": pictures[n] for n in range(4)}
    files |= {"train/4.png": b"", "train/5.png": b"", "train/6.png": page, "train/7.png": page}
    files |= {"test/8.png": b"", "test/9.png": page, "test/10.png": pictures[4]}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert {finding.check for finding in audit.findings} == {"unreadable"}
    assert audit.dropped == {"4.png", "5.png", "6.png", "7.png"}
    assert audit.groups == {}


def test_photos_without_anything_to_see(tmp_path):
    """All flat: there is nothing to compare at all."""
    greys = {f"{level}.png": np.full((90, 120, 3), level, np.uint8) for level in (0, 128, 255)}
    lay(tmp_path, {name: encode(pixels) for name, pixels in greys.items()})
    audit = audit_lot(open_lot(tmp_path))
    assert list_found(audit, "dark", "flat", *COPIES) == [
        ("test", "0.png", "dark"),
        ("test", "128.png", "flat"),
        ("test", "255.png", "flat"),
    ]


def test_odd_photos_are_told_and_dropped_only_if_told_so(tmp_path, pictures, texture_drawer):
    blurred = Image.fromarray(texture_drawer(9)).resize((12, 9)).resize((160, 120))
    odd = {
        "tiny": texture_drawer(10, 40, 30),
        "extreme-aspect": texture_drawer(11, 400, 80),
        "dark": texture_drawer(12) // np.array([8, 255, 255], np.uint8),
        "flat": np.full((90, 120, 3), (90, 120, 150), np.uint8),
        "blurred": np.asarray(blurred),
        "grey": np.asarray(Image.fromarray(texture_drawer(13)).convert("L")),
    }
    files = {f"a/{n}.png": pictures[n] for n in range(4)}
    files |= {f"b/{n}.png": pictures[n] for n in range(4, 8)}
    files |= {f"b/{name}.png": encode(pixels) for name, pixels in odd.items()}
    lot = open_lot(lay(tmp_path, files))
    audit = audit_lot(lot)
    assert list_found(audit, *odd) == sorted(("train", f"{name}.png", name) for name in odd)
    assert audit.dropped == frozenset()
    for name in odd:
        settings = Settings(**{name.replace("-", "_"): "drop"})
        assert audit_lot(lot, settings).dropped == {f"{name}.png"}


def test_rare_and_small_classes_are_told(tmp_path, texture_drawer):
    files = {f"a/{n}.png": encode(texture_drawer(n, 80, 64)) for n in range(12)}
    files |= {f"b/{n}.png": encode(texture_drawer(n, 80, 64)) for n in range(12, 24)}
    files |= {"c/24.png": encode(texture_drawer(24, 80, 64)), "c/25.png": b""}
    lot = open_lot(lay(tmp_path, files))
    audit = audit_lot(lot)
    assert list_found(audit) == [
        ("train", "", "imbalance"),
        ("train", "24.png", "rare-class"),
        ("train", "25.png", "unreadable"),
    ]
    assert "has only one photo" in sentences(audit, "rare-class")["24.png"]
    # What is locked is no longer there to train on.
    assert list_found(audit_lot(lot, lock=0.2)) == list_found(audit)
    with pytest.raises(InputError, match="locked share"):
        audit_lot(lot, lock=1)


# --- names of one source -------------------------------------------------------------------------


def lay_roboflow(folder, texture_drawer, names):
    """Twelve pictures of two classes, and each rotated by 7 degrees; all have these names."""
    files = {}
    for number in range(12):
        place, picture = "ab"[number % 2], texture_drawer(number)
        files[f"{place}/{names[0].format(number)}"] = encode(picture)
        files[f"{place}/{names[1].format(number)}"] = rotate(picture, 7 if number % 4 < 2 else -7)
    return open_lot(lay(folder, files))


ROBOFLOW = ("car{}_jpg.rf.0a1b2c3d.jpg", "car{}_jpg.rf.4e5f6a7b.jpg")


@pytest.mark.parametrize(
    "names", [ROBOFLOW, ("{}.png", "{} (1).jpg"), ("{}.png", "{}_rot7.jpg")], ids=lambda n: n[1]
)
def test_rotated_photos_whose_names_are_of_one_source_are_kept_together(
    tmp_path, texture_drawer, names
):
    lot = lay_roboflow(tmp_path, texture_drawer, names)
    audit = audit_lot(lot)
    assert audit.count() == {"same-source": 12}
    assert audit.dropped == frozenset()
    pairs = [{name.format(number) for name in names} for number in range(12)]
    assert audit.groups == {id_: f"copies of {min(pair)}" for pair in pairs for id_ in pair}
    for seed in range(3):
        options = {"seed": seed, "groups": audit.groups}
        for split in (
            draw_split(lot.train, validation=0.3, lock=0.2, **options),
            draw_folds(lot.train, num_folds=3, **options),
        ):
            parts = [set(ids) for ids in split.parts.values()]
            assert all(any(pair <= part for part in parts) for pair in pairs)


def test_what_is_rotated_is_no_copy_without_a_name_that_says_so(tmp_path, texture_drawer):
    lot = lay_roboflow(tmp_path, texture_drawer, ("{}.png", "1{}.jpg"))
    assert audit_lot(lot).findings == ()


def test_photos_of_one_name_that_look_otherwise_are_not_kept_together(tmp_path, texture_drawer):
    """As browsers name what they save."""
    files = {f"a/images ({n}).png": encode(texture_drawer(n)) for n in range(1, 20)}
    files |= {f"b/images ({n}).png": encode(texture_drawer(n)) for n in range(20, 40)}
    files["a/images.png"] = encode(texture_drawer(0))
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert (audit.findings, audit.groups) == ((), {})


def test_a_rotated_photo_among_many_of_one_name_is_found(tmp_path, texture_drawer):
    files = {f"a/images ({n}).png": encode(texture_drawer(n)) for n in range(1, 40)}
    files |= {f"b/{n}.png": encode(texture_drawer(n)) for n in range(40, 43)}
    files["a/images (40).jpg"] = rotate(texture_drawer(7), 7)
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert list_found(audit) == [("train", "images (7).png", "same-source")]
    assert set(audit.groups) == {"images (7).png", "images (40).jpg"}


def test_many_photos_made_of_one_are_one_group(tmp_path, texture_drawer):
    angles = [*range(-18, 0, 3), *range(3, 19, 3)]
    files = {f"a/7_rot{angle}.jpg": rotate(texture_drawer(7), angle) for angle in angles}
    files |= {f"{'ba'[n % 2]}/{n}.png": encode(texture_drawer(n)) for n in range(8)}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert set(audit.groups) == {"7.png", *(f"7_rot{angle}.jpg" for angle in angles)}
    assert len(set(audit.groups.values())) == 1


def test_across_classes_and_test_photos_names_say_nothing(tmp_path, texture_drawer):
    picture = texture_drawer(0)
    files = {f"train/{'ab'[n % 2]}/{n}.png": encode(texture_drawer(n)) for n in range(6)}
    files |= {"train/b/0 (1).jpg": rotate(picture, 7), "test/a/0 (2).jpg": rotate(picture, -7)}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert audit.num_photos == {"train": 7, "test": 1}
    assert (audit.findings, audit.groups) == ((), {})


def test_a_copy_of_one_name_is_told_once_as_a_copy(tmp_path, texture_drawer):
    """And what is joined to it by its name joins its cluster."""
    pictures = {f"{'ab'[n % 2]}/{n}.png": encode(texture_drawer(n)) for n in range(6)}
    more = {"a/0 (1).jpg": encode(texture_drawer(0), "JPEG", quality=60)}
    more["a/0 (2).jpg"] = rotate(texture_drawer(0), 9)
    audit = audit_lot(open_lot(lay(tmp_path, pictures | more)))
    assert audit.count() == {"near-duplicate": 1, "same-source": 1}
    assert audit.groups == dict.fromkeys(["0.png", "0 (1).jpg", "0 (2).jpg"], "copies of 0 (1).jpg")


def test_a_photo_of_one_name_that_cannot_be_read_is_left_out(tmp_path, texture_drawer):
    files = {f"{'ab'[n % 2]}/{n}.png": encode(texture_drawer(n)) for n in range(6)}
    files |= {"a/0 (1).jpg": b"", "b/1 (1).jpg": rotate(texture_drawer(1), 7)}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert audit.count() == {"unreadable": 1, "same-source": 1}


# --- findings of tables and files that do not match ----------------------------------------------


def test_what_the_lot_tells_of_is_taken_in(tmp_path, pictures):
    rows = "1.png,0 2.png,0 2.png,0 3.png,1 3.png,0 4.png,1 5.png,1 6.png,0 blank.png, gone.png,1"
    files = {"train.csv": "\n".join(["Id,Category", *rows.split()]).encode()}
    files |= {f"train/{n}.png": data for n, data in enumerate(pictures)}
    files["train/copies/4.png"] = pictures[4] + b"\0"
    lot = open_lot(lay(tmp_path, files))
    audit = audit_lot(lot)
    assert set(lot.findings) <= set(audit.findings)
    assert list_found(audit) == [
        ("train", "0.png", "no-row"),
        ("train", "2.png", "duplicate-row"),
        ("train", "3.png", "label-conflict"),
        ("train", "4.png", "ambiguous-file"),
        ("train", "5.png", "rare-class"),
        ("train", "7.png", "no-row"),
        ("train", "blank.png", "no-label"),
        ("train", "gone.png", "no-file"),
    ]
    assert audit.dropped == {"gone.png"}, "the others are not in the catalog at all"


def test_a_photo_is_not_dropped_for_another_row_or_file_of_its_name(tmp_path, pictures):
    """A row without a label beside one with; a file without a row of the name of a photo."""
    rows = ["id,label,path", "a.png,0,a.png", "a.png,,a.png", "b.png,1,in/e.png"]
    rows += ["c.png,1,c.png", "d.png,0,d.png"]
    files = {f"photos/{name}.png": pictures[n] for n, name in enumerate("abcd")}
    files |= {"photos/in/e.png": pictures[5], "train.csv": "\n".join(rows).encode()}
    lot = open_lot(lay(tmp_path, files) / "train.csv", photos=tmp_path / "photos")
    audit = audit_lot(lot)
    assert list_found(audit) == [
        ("train", "a.png", "no-label"),
        ("train", "b.png", "no-row"),
    ]
    assert audit.actions["no-row"] == audit.actions["no-label"] == "drop"
    assert audit.dropped == frozenset()


def test_every_check_that_is_told_of_a_lot_is_known(tmp_path, pictures):
    lot = Lot(
        tmp_path,
        Catalog((), ()),
        Catalog((), ()),
        findings=tuple(Finding("a", check, 1.0, (), "It is so.") for check in reversed(CHECKS)),
    )
    assert [finding.check for finding in audit_lot(lot).findings] == list(CHECKS)


# --- the table of findings -----------------------------------------------------------------------

ODD_IDS = [
    "a,b.jpg",
    'say "car".jpg',
    "line\nbreak.jpg",
    "cr\rlf.jpg",
    "машина.jpg",
    "🚗.jpg",
    " ;\t",
]


def test_findings_come_back_from_their_table(tmp_path):
    findings = tuple(
        Finding(id_, check, 0.98765, (f"twin {id_}", "z"), f"It is {id_}.", part)
        for id_ in ODD_IDS
        for check, part in (("leak", "train"), ("grey", "test"))
    )
    actions = {name: check.actions[-1] for name, check in CHECKS.items()}
    audit = Audit(findings, actions, {}, frozenset(), {}, {}, {})
    write_findings(tmp_path / "findings.csv", audit)
    with (tmp_path / "findings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "Id": finding.photo_id,
            "Part": finding.part,
            "Check": finding.check,
            "Severity": "error" if finding.check == "leak" else "warning",
            "Training": "drop",
            "Score": "0.988",
            "Related": "\n".join(finding.related_ids),
            "Sentence": finding.sentence,
        }
        for finding in findings
    ]


def test_no_findings_are_a_table_too(tmp_path):
    write_findings(tmp_path / "findings.csv", Audit((), {}, {}, frozenset(), {}, {}, {}))
    text = (tmp_path / "findings.csv").read_text("utf-8")
    assert text == "Id,Part,Check,Severity,Training,Score,Related,Sentence\n"


# --- hostile input -------------------------------------------------------------------------------


def make_png(width, height):
    """A sound header; the pixels are black if they are within reason, else missing."""

    def chunk(name, body):
        size, check = struct.pack(">I", len(body)), struct.pack(">I", zlib.crc32(name + body))
        return size + name + body + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (1 + 3 * width) * height
    pixels = zlib.compress(bytes(rows if rows < 10_000_000 else 100))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


UNREADABLE = {
    "drawing.jpg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
    "page.jpg": (b"<!doctype html><html></html>", "an HTML page"),
    "empty.jpg": (b"", "empty file (0 bytes)"),
    "bomb.png": (make_png(50_000, 4000), "too large: 50000 x 4000 pixels"),
    "words.jpg": ("фото не найдено".encode("cp1251"), "not a known photo format"),
}
ODD_NAMES = ["машина 🚗.png", "line\nbreak.png", 'quote".png', "-rf.png", "%s{0}.png", "комма,.png"]


@pytest.fixture
def hostile_files(pictures):
    """A folder per class: sound photos, half of them oddly named, and files that are none."""
    files = {f"heron/{n}.png": pictures[n] for n in range(4)}
    files |= {f"volna/{n}.png": pictures[n] for n in range(4, 8)}
    # Each is the copy of a sound one, and must be told so.
    files |= {f"heron/{name}": pictures[n % 4] for n, name in enumerate(ODD_NAMES)}
    files["volna/wide.png"] = make_png(50_000, 20)
    return files | {f"volna/{name}": data for name, (data, _) in UNREADABLE.items()}


def check_hostile(audit, **more):
    """All that is wrong with the hostile files, and `more` that cannot be read."""
    found = sentences(audit, "unreadable")
    words = {name: words for name, (_, words) in UNREADABLE.items()} | more
    assert found.keys() == words.keys()
    for name, word in words.items():
        assert found[name].startswith(f"It cannot be read: {word}")
    assert list_ids(audit, "extreme-aspect") == list_ids(audit, "tiny") == {"wide.png"}
    copies = {f"{n % 4}.png": [] for n in range(4)}
    for n, name in enumerate(ODD_NAMES):
        copies[f"{n % 4}.png"].append(name)
    assert set(audit.groups) == {*ODD_NAMES, *copies}
    for original, names in copies.items():
        assert {audit.groups[name] for name in [original, *names]} == {
            f"copies of {min([original, *names])}"
        }
    assert audit.dropped == words.keys()


def test_a_folder_of_hostile_files_becomes_findings(tmp_path, hostile_files):
    cars = lay(tmp_path / "cars", hostile_files)
    (cars / "volna/folder.jpg").mkdir()
    with (cars / "volna/big.jpg").open("wb") as file:
        file.truncate(4 << 30)
    audit = audit_lot(open_lot(cars))
    check_hostile(audit, **{"big.jpg": "too large: 4,294,967,296 bytes"})
    write_findings(tmp_path / "findings.csv", audit)
    with (tmp_path / "findings.csv").open(encoding="utf-8", newline="") as file:
        assert [row["Id"] for row in csv.DictReader(file)] == [f.photo_id for f in audit.findings]


def test_a_zip_of_hostile_files_becomes_findings(tmp_path, hostile_files):
    path = pack(tmp_path / "cars.zip", hostile_files)
    link = zipfile.ZipInfo("volna/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("volna/folder.jpg/", b"")
        archive.writestr("volna/spoilt.png", b"spoilt content" * 9)
    path.write_bytes(path.read_bytes().replace(b"spoilt content" * 9, b"SPOILT content" * 9))
    audit = audit_lot(open_lot(path))
    check_hostile(audit, **{"spoilt.png": "damaged in its archive"})


def test_links_are_followed_and_dangling_ones_and_rings_are_not(tmp_path, pictures):
    files = {f"{'ab'[n % 2]}/{n}.png": pictures[n] for n in range(6)}
    cars = lay(tmp_path / "cars", files)
    lay(tmp_path, {"outside.png": pictures[6], "elsewhere/7.png": pictures[7]})
    (cars / "a/link.png").symlink_to(tmp_path / "outside.png")
    (cars / "a/twin.png").symlink_to(cars / "b/1.png")
    (cars / "a/dangling.png").symlink_to(tmp_path / "nowhere.png")
    (cars / "a/linked").symlink_to(tmp_path / "elsewhere")
    (cars / "b/ring").symlink_to(cars)
    lot = open_lot(cars)
    assert set(lot.train.ids) == {
        *(f"{n}.png" for n in (0, 1, 2, 3, 4, 5, 7)),
        "link.png",
        "twin.png",
    }
    # A link is the same file under another name, here with another label.
    assert list_found(audit_lot(lot)) == [
        ("train", "1.png", "label-conflict"),
        ("train", "twin.png", "duplicate"),
        ("train", "twin.png", "label-conflict"),
    ]


def test_a_zip_from_a_russian_windows_is_told_of_by_its_own_names(tmp_path, pictures):
    """Names in cp866 without the UTF-8 flag, of classes and of photos."""
    path = tmp_path / "cars.zip"
    names = ["Волна/Нива.png", "Волна/1.png", "Чайка/Пустое.png", "Чайка/2.png"]
    raw = {name: name.encode("cp866").decode("cp437") for name in names}
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            # zipfile writes such names as UTF-8; of equal length and ASCII they can be replaced.
            place = f"{number:x}" * len(name.encode("cp866"))
            archive.writestr(place, b"" if "Пустое" in name else pictures[number])
    data = path.read_bytes()
    for number, name in enumerate(names):
        place = f"{number:x}" * len(name.encode("cp866"))
        data = data.replace(place.encode(), name.encode("cp866"))
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(raw.values())
    lot = open_lot(path)
    assert lot.train.names == ("Волна", "Чайка")
    assert list_found(audit_lot(lot), "unreadable") == [("train", "Пустое.png", "unreadable")]


def test_rows_that_contradict_each_other_are_a_conflict(tmp_path, pictures):
    rows = b"Id,Category\n0.png,0\n1.png,1\n2.png,0\n3.png,1\n3.png,0\n"
    files = {"train.csv": rows} | {f"train/{n}.png": pictures[n] for n in range(4)}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    (finding,) = [f for f in audit.findings if f.check == "label-conflict"]
    assert finding.photo_id == "3.png"
    assert "different labels (1, 0)" in finding.sentence
    assert audit.num_photos["train"] == 3
    assert audit.dropped == frozenset()
    assert audit.num_left_out == audit.to_dict()["left_out"] == 1


@pytest.mark.parametrize(
    ("rows", "num", "checks"),
    [
        ("", 0, set()),
        ("4.png,0 4.png,1 5.png,0", 1, {"label-conflict"}),
        ("4.png,0 4.png,1 4.png,2 5.png,0", 1, {"label-conflict"}),
        ("4.png,0 train/4.png,1 5.png,0", 2, {"label-conflict"}),  # two rows of one file
        ("4.png, 5.png,nan", 2, {"no-label"}),
        ("4.png, 4.png,? 5.png,0", 1, {"no-label"}),
        ("4.png,0 4.png, 5.png,0", 0, {"no-label"}),  # it has a label in another row
        ("4.png,0", 1, {"no-row"}),
        ("4.png,0 5.png,1 9.png,0", 1, {"no-file"}),
        ("4.png,0 4.png,0 5.png,1", 0, {"duplicate-row"}),
    ],
)
def test_what_is_left_out_is_counted_wherever_it_is_told(tmp_path, pictures, rows, num, checks):
    table = ["Id,Category", *(f"{n}.png,{n % 2}" for n in range(4)), *rows.split()]
    # Without further rows there are no further files either.
    files = {f"train/{n}.png": pictures[n] for n in range(6 if rows else 4)}
    lot = open_lot(lay(tmp_path, {"train.csv": "\n".join(table).encode()} | files))
    audit = audit_lot(lot)
    loud = [f for f in audit.findings if f.check in ("rare-class", "imbalance")]
    assert {f.check for f in audit.findings if f not in loud} == checks
    assert audit.num_left_out == num


def test_a_conflict_of_a_table_is_left_out_whatever_copies_come_to(tmp_path, pictures):
    rows = b"Id,Category\n0.png,0\n1.png,1\n2.png,0\n3.png,1\n3.png,0\n4.png,1\n"
    files = {"train.csv": rows} | {f"train/{n}.png": pictures[min(n, 3)] for n in range(3)}
    files |= {"train/3.png": pictures[3], "train/4.png": pictures[0]}
    lot = open_lot(lay(tmp_path, files))
    assert audit_lot(lot).num_left_out == 3
    kept = audit_lot(lot, Settings(label_conflict="group"))
    assert kept.dropped == frozenset()
    assert kept.num_left_out == 1


def test_rows_of_the_test_part_are_not_told_among_those_of_training(tmp_path, pictures):
    rows = b"id,label,split\n0.png,0,train\n1.png,1,train\n2.png,0,test\n2.png,1,test\n"
    files = {"cars.csv": rows} | {f"photos/{n}.png": pictures[n] for n in range(3)}
    audit = audit_lot(open_lot(lay(tmp_path, files)))
    assert ("test", "2.png", "label-conflict") in list_found(audit)
    assert audit.num_left_out == 0


def mark_encrypted(data):
    """Sets the flag in both headers of every member."""
    data = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 1)
    return bytes(data)


def test_an_encrypted_zip_is_refused(tmp_path, pictures):
    path = pack(tmp_path / "cars.zip", {"a/1.png": pictures[0], "b/2.png": pictures[1]})
    path.write_bytes(mark_encrypted(path.read_bytes()))
    with pytest.raises(InputError, match="is encrypted"):
        audit_lot(open_lot(path))


def test_a_zip_that_goes_while_it_is_audited_becomes_findings(tmp_path, pictures):
    path = pack(tmp_path / "cars.zip", {"a/1.png": pictures[0], "b/2.png": pictures[1]})
    lot = open_lot(path)
    path.unlink()
    audit = audit_lot(lot)
    assert list_ids(audit, "unreadable") == {"1.png", "2.png"}
    assert audit.class_counts == {}
