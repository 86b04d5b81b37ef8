"""Decisions: kept beside the data, read back as people leave them, applied only where they fit."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lotlens.errors import InputError, OutputError
from lotlens.photos.decisions import (
    VERDICTS,
    Decision,
    apply_decisions,
    decisions_path,
    read_decisions,
    write_decisions,
)
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.sources import open_lot
from lotlens.records import CarClass, Catalog, Locator, Lot, Photo

TIME = "2026-11-25T18:00:00+00:00"
CLASSES = (CarClass("4", "Нива"), CarClass("5", "Priora"), CarClass("6", "6"))
KEEP, RELABEL, DROP, NO_CAR = (
    Decision("a.jpg", "keep", "4", "4", TIME),
    Decision("b.jpg", "relabel", "5", "4", TIME),
    Decision("c.jpg", "drop", "", "6", TIME),
    Decision("d, e.jpg", "not a car", "", "5", TIME),
)


def make_lot(labels):
    photos = tuple(Photo(id_, Locator(Path(id_)), label) for id_, label in labels.items())
    return Lot(Path("lot"), Catalog(photos, CLASSES), Catalog((), CLASSES))


LOT = make_lot({"a.jpg": "4", "b.jpg": "4", "c.jpg": "6", "d, e.jpg": "5", "f.jpg": "5"})


def labels_of(lot):
    return {photo.id: photo.label for photo in lot.train.photos}


def tell(lot):
    return [(finding.photo_id, finding.check, finding.sentence) for finding in lot.findings]


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("x/stanford10", "x/stanford10.decisions.csv"),
        ("x/stanford10/", "x/stanford10.decisions.csv"),
        ("x/lot.zip", "x/lot.zip.decisions.csv"),
        ("x/lot", "x/lot.decisions.csv"),
        ("x/lot.csv", "x/lot.csv.decisions.csv"),
        ("x/y/..", "x.decisions.csv"),
    ],
)
def test_each_source_has_a_file_of_its_own_beside_it(tmp_path, data, name):
    assert decisions_path(Path(f"{tmp_path}/{data}")) == tmp_path / name


def test_the_folder_one_stands_in_has_a_file_too(tmp_path, monkeypatch):
    (tmp_path / "lot").mkdir()
    monkeypatch.chdir(tmp_path / "lot")
    assert decisions_path(Path(".")) == tmp_path / "lot.decisions.csv"


def test_nothing_lies_beside_the_root():
    with pytest.raises(InputError, match="into a folder"):
        decisions_path(Path("/"))


def test_no_file_no_decisions(tmp_path):
    assert read_decisions(tmp_path / "lot.decisions.csv") == ()


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "lot.decisions.csv"
    decisions = (KEEP, RELABEL, DROP, NO_CAR)
    write_decisions(path, decisions)
    assert read_decisions(path) == decisions
    assert path.read_text("utf-8").splitlines()[:3] == [
        "Id,Decision,Label,Was,Time",
        f"a.jpg,keep,4,4,{TIME}",
        f"b.jpg,relabel,5,4,{TIME}",
    ]


def test_all_taken_back_leaves_a_header(tmp_path):
    path = tmp_path / "lot.decisions.csv"
    write_decisions(path, ())
    assert read_decisions(path) == ()


words = st.text(min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text.isprintable()
)


@given(st.data())
def test_any_decisions_survive_the_file(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("decisions") / "lot.decisions.csv"
    decisions = []
    for id_ in data.draw(st.lists(words, unique=True, max_size=6)):
        verdict = data.draw(st.sampled_from(VERDICTS))
        was, new = "4", data.draw(st.sampled_from(["5", "Нива", 'a "b", c;d']))
        label = {"keep": was, "relabel": new}.get(verdict, "")
        decisions.append(Decision(id_, verdict, label, was, TIME))
    write_decisions(path, decisions)
    assert read_decisions(path) == tuple(decisions)


def test_a_spreadsheet_may_have_had_it(tmp_path):
    path = tmp_path / "lot.decisions.csv"
    text = (
        "id;DECISION;Label;Was;Time\r\n"
        "a.jpg;Keep;;4.0;25.11.2026 18:00\r\n"
        " b.jpg ; RELABEL;5.0;4;\r\n"
        ";;;;\r\n"
        "c.jpg;Drop;6;6\r\n"
        "d, e.jpg;Not  a car;;Нива;\r\n"
    )
    path.write_bytes(text.encode("cp1251"))
    assert read_decisions(path) == (
        replace(KEEP, time="25.11.2026 18:00"),
        replace(RELABEL, time=""),
        replace(DROP, time=""),
        replace(NO_CAR, was="Нива", time=""),
    )


def test_of_two_rows_of_one_photo_the_last_one_counts_and_stands_last(tmp_path):
    path = tmp_path / "lot.decisions.csv"
    later = replace(KEEP, verdict="drop", label="")
    write_decisions(path, (KEEP, RELABEL, later))
    assert read_decisions(path) == (RELABEL, later)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",keep,4,4,", "row 3: Id is empty"),
        ("x.jpg,,4,4,", "row 3: Decision is '', which is none of keep, relabel, drop, not a car"),
        ("x.jpg,kepe,4,4,", "'kepe'"),
        ("x.jpg,drop,,,", "row 3: Was is empty"),
        ("x.jpg,relabel,,4,", "row 3: Label is empty"),
        ("x.jpg,keep,5,4,", "Label is '5' and Was '4': write 'relabel'"),
    ],
)
def test_a_damaged_row_is_refused_with_its_place_and_a_way_out(tmp_path, row, said):
    path = tmp_path / "lot.decisions.csv"
    path.write_text(f"Id,Decision,Label,Was,Time\na.jpg,keep,4,4,\n{row}\n")
    with pytest.raises(InputError) as caught:
        read_decisions(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "lot.decisions.csv"
    path.write_text("Id,Category\n1.jpg,4\n")
    with pytest.raises(InputError, match="no column for the Decision"):
        read_decisions(path)


def test_a_folder_in_its_place_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_decisions(tmp_path)
    with pytest.raises(OutputError):
        write_decisions(tmp_path, (KEEP,))


# --- what becomes of the lot ---------------------------------------------------------------------


def test_decisions_are_applied_and_told():
    lot = apply_decisions(LOT, (KEEP, RELABEL, DROP, NO_CAR))
    assert labels_of(lot) == {"a.jpg": "4", "b.jpg": "5", "f.jpg": "5"}
    assert tell(lot) == [
        (
            "b.jpg",
            "relabelled",
            "It was reviewed: the data label it 4 Нива, and it now counts as 5 Priora.",
        ),
        ("c.jpg", "left-out", "It was reviewed and dropped; left out."),
        ("d, e.jpg", "left-out", "It was reviewed and is not a car; left out."),
    ]
    assert lot.train.classes == CLASSES


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (
            replace(RELABEL, photo_id="gone.jpg"),
            "The decision to relabel it was not applied: the photo is no longer in the data.",
        ),
        (
            replace(KEEP, was="6", label="6"),
            "The decision to keep its label was not applied: the label was 6 then and is 4 Нива"
            " now.",
        ),
        (
            replace(DROP, was="5"),
            "The decision to drop it was not applied: the label was 5 Priora then and is 6 now.",
        ),
        (
            replace(RELABEL, label="new\n"),
            "The decision to relabel it was not applied: 'new\\n' is no class of these data.",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_told_and_not_done(decision, said):
    lot = apply_decisions(LOT, (decision,))
    assert lot.train == LOT.train
    assert tell(lot) == [(decision.photo_id, "stale-decision", said)]


def test_labels_put_right_in_the_data_themselves_are_no_matter():
    lot = make_lot({"b.jpg": "5"})
    assert apply_decisions(lot, (RELABEL,)) == lot


def test_findings_of_the_lot_are_kept():
    first = apply_decisions(LOT, (DROP,))
    assert tell(apply_decisions(first, (RELABEL,)))[0] == tell(first)[0]


ids = st.sampled_from(["a", "b", "c", "d", "e"])
labels = st.sampled_from(["4", "5", "6"])
lots = st.dictionaries(ids, labels).map(make_lot)
decisions_ = st.lists(
    st.builds(
        Decision,
        st.sampled_from(["a", "b", "c", "d", "e", "gone"]),
        st.sampled_from(VERDICTS),
        st.sampled_from(["4", "5", "6", "no class"]),
        labels,
    )
)


@given(lots, decisions_)
def test_applying_twice_does_what_once_does(lot, decisions):
    once = apply_decisions(lot, decisions)
    assert apply_decisions(once, decisions).train == once.train


@given(lots, decisions_)
@example(make_lot({"a": "4"}), [Decision("a", "keep", "no class", "4")])
def test_no_id_is_invented_and_order_stays(lot, decisions):
    done = apply_decisions(lot, decisions)
    left = set(done.train.ids)
    assert [id_ for id_ in lot.train.ids if id_ in left] == list(done.train.ids)
    assert done.train.classes == lot.train.classes
    assert {photo.label for photo in done.train.photos} <= set(lot.train.labels)
    assert done.test == lot.test


@given(lots, decisions_)
def test_photos_that_nobody_decided_on_are_untouched(lot, decisions):
    decided = {decision.photo_id for decision in decisions}
    done = apply_decisions(lot, decisions)
    untouched = [photo for photo in lot.train.photos if photo.id not in decided]
    assert [photo for photo in done.train.photos if photo.id not in decided] == untouched


@given(lots, decisions_)
def test_whatever_changes_is_told_once(lot, decisions):
    done = apply_decisions(lot, decisions)
    before, after = labels_of(lot), labels_of(done)
    changed = {id_ for id_ in before if before[id_] != after.get(id_)}
    told = [f.photo_id for f in done.findings if f.check in ("relabelled", "left-out")]
    assert sorted(told) == sorted(changed)
    assert len({finding.photo_id for finding in done.findings}) == len(done.findings)


# --- beside the data -----------------------------------------------------------------------------


def test_a_source_is_read_as_before_with_decisions_in_its_folder(tmp_path, photo_drawer):
    """Decisions of a part lie within the whole, which may be opened as a source itself."""
    wrapped = tmp_path / "wrapped"
    for label in (0, 1):
        for number in range(3):
            path = wrapped / "train" / str(label) / f"{label}{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo_drawer(label, number).save(path)
    before = open_lot(wrapped)
    write_decisions(decisions_path(wrapped / "train"), (replace(DROP, photo_id="00.jpg"),))
    after = open_lot(wrapped)
    assert after == before
    assert fingerprint(after.train) == fingerprint(before.train)


def test_a_folder_with_one_zip_is_entered_with_decisions_beside_the_zip(small_lot, tmp_path):
    import shutil

    archive = shutil.make_archive(str(tmp_path / "box" / "lot"), "zip", small_lot)
    before = open_lot(tmp_path / "box")
    write_decisions(decisions_path(Path(archive)), (KEEP,))
    assert open_lot(tmp_path / "box") == before
    assert len(before.train) > 0
