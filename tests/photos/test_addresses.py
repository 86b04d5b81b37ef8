"""addresses: photos in a bucket are those on a disk; only what a person types is an address."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from lotlens.errors import InputError, MissingExtra, UnreadablePhoto
from lotlens.photos import addresses
from lotlens.photos.addresses import is_address, list_files, tell_change, to_source
from lotlens.photos.archives import MAX_FILE_BYTES, PhotoReader, read_bytes
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.places import name_below
from lotlens.photos.sources import open_lot, open_photos, open_unlabelled
from lotlens.photos.tables import read_place, write_place
from lotlens.records import Locator
from lotlens.report.language import load_language
from tests.conftest import draw_photo, encode

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: see lotlens[cluster]")


def pack(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


PHOTOS = {
    f"{folder}/{number}.jpg": encode(draw_photo(number, number))
    for folder, number in [("Нива", 0), ("Нива", 1), ("kalina", 2)]
}


@pytest.fixture
def bucket():
    """A bucket in memory, with photos, a zip of the same, and one in it."""
    system = fsspec.filesystem("memory")
    inner = pack(PHOTOS)
    files = {
        **{f"photos/{name}": data for name, data in PHOTOS.items()},
        "photos/.git/1.jpg": b"",
        "photos/notes.txt": b"words",
        "photos/empty.jpg": b"",
        "packed.zip": inner,
        "outer.zip": pack({"inner.zip": inner}),
        "broken.zip": inner[:200],
        "table.csv": b"Id,Category\n",
    }
    for name, data in files.items():
        system.pipe(f"/bucket/{name}", data)
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def read_all(catalog):
    with PhotoReader() as reader:
        return {one.id.rpartition("/")[2]: reader.read(one.locator) for one in catalog.photos}


@pytest.mark.parametrize("where", ["photos", "packed.zip", "outer.zip"])
def test_photos_at_an_address_are_those_on_a_disk(bucket, where, tmp_path):
    for name, data in PHOTOS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    here = read_all(open_photos(tmp_path))
    there = read_all(open_photos(f"{bucket}/{where}"))
    there.pop("empty.jpg", None)
    assert there == here


def test_what_was_understood_of_a_bucket_is_said(bucket):
    reading = open_unlabelled([f"{bucket}/photos"]).reading
    told = str(reading)
    assert reading.source == f"{bucket}/photos"
    assert ".git" in told
    assert ".txt" in told


def test_one_photo_and_several_places(bucket, tmp_path):
    (tmp_path / "x.jpg").write_bytes(PHOTOS["kalina/2.jpg"])
    one = f"{bucket}/photos/kalina/2.jpg"
    assert open_photos(one).ids == ("2.jpg",)
    assert len(open_photos([one, tmp_path, f"{bucket}/packed.zip"])) == 5
    sources = [f"{bucket}/photos"]
    places = [one.locator for one in open_photos(sources).photos]
    assert {name_below(place, sources) for place in places} == {*PHOTOS, "empty.jpg"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "memory://bucket/none does not exist"),
        ("broken.zip", "damaged or not a zip"),
        ("table.csv", "is a table, not photos"),
        ("photos.tar.gz", "does not exist"),
    ],
)
def test_what_cannot_be_used_is_one_line(bucket, name, said):
    with pytest.raises(InputError, match=said) as caught:
        open_photos(f"{bucket}/{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nothing://bucket/photos", "nothing:// is none"),
        ("http://host/photos/", "http:// is none"),
        ("reference://x", "reference:// is none"),
        ("zip://1.jpg::memory://bucket/packed.zip", "zip:// is none"),
        ("memory://a::http://host/x", "leads from one store into another"),
        ("ftp://me:secret@host/photos", "password"),
        ("ftp://me:sec/ret@host/photos", "password"),
        ("ftp://me:s@secret@host/photos", "password"),
        ("s3://KEY:se/cret@bucket/photos", "password"),
    ],
)
def test_addresses_that_lead_nowhere(address, said):
    with pytest.raises(InputError, match=said) as caught:
        open_photos(address)
    for hidden in ("secret", "sec/", "se/", "KEY"):
        assert hidden not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("http:/127.0.0.1/a.jpg", "http://127.0.0.1/a.jpg is not read: photos may lie in a store"),
        ("HTTPS:/x/a.zip", "https:// is none: copy them"),
        ("s3:/bucket/photos", "is text with two slashes: s3://bucket/photos"),
        ("sftp:/host/a.jpg", "sftp:/host/a.jpg does not exist; an address is text with two"),
        ("file:/none/a.jpg", "name what lies on this machine by its path alone: /none/a.jpg"),
        ("ftp:/me:secret@host/photos", "password"),
        ("c:/none.jpg", "c:/none.jpg does not exist; "),
    ],
)
def test_an_address_with_one_slash_is_told_how_it_is_written(tmp_path, monkeypatch, typed, said):
    monkeypatch.chdir(tmp_path)
    Path("here.jpg").touch()
    for given in (typed, Path(typed), ["here.jpg", typed]):
        with pytest.raises(InputError) as caught:
            open_photos(given)
        words = str(caught.value)
        assert said in words
        assert "alone; copy other data" not in words  # it is predict that asks
        assert "secret" not in words
        assert load_language("ru").reword(words) is not None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("s3://bucket/lot", "s3://bucket/lot looks like an address: photos at one"),
        ("http://x/lot.zip", "http://x/lot.zip is not read: photos may lie in a store"),
        ("file:///none/lot", "by its path alone: /none/lot"),
    ],
)
def test_a_lot_lies_on_this_machine(tmp_path, monkeypatch, typed, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        open_lot(typed)
    assert said in str(caught.value)
    assert load_language("ru").reword(str(caught.value)) is not None


def test_a_folder_may_be_called_as_an_address_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:").mkdir()
    Path("s3:/1.jpg").write_bytes(PHOTOS["kalina/2.jpg"])
    assert open_photos("s3:/1.jpg").ids == ("1.jpg",)


def test_file_addresses_are_paths(tmp_path):
    """So that nothing that is read can be written over, and links and pipes are what they are."""
    folder = tmp_path / "Мои фото"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(PHOTOS["kalina/2.jpg"])
    for address in (folder.as_uri(), f"file://{folder}", f"FILE://{folder}/", f"local://{folder}"):
        assert to_source(address) == folder
        (photo,) = open_photos(address).photos
        assert photo.locator == Locator(folder / "1.jpg")
    literal = tmp_path / "a%20b"
    literal.mkdir()
    (tmp_path / "a b").mkdir()
    assert to_source(f"file://{literal}") == literal
    assert to_source("S3://Bucket/X") == "s3://Bucket/X"


def test_names_that_look_like_addresses_are_names(tmp_path, monkeypatch):
    monkeypatch.setattr(addresses, "_HERE", frozenset())
    monkeypatch.setattr(addresses, "_STORES", frozenset(["file"]))
    files = dict(
        zip(
            ["a.jpg", "a.jpg::b.jpg", "file::x.jpg", "#?%20.jpg"],
            [*PHOTOS.values(), b""],
            strict=True,
        )
    )
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert read_all(open_photos(f"file://{tmp_path}")) == files


class Dropping:
    """A file whose store hangs up after some bytes, with an error of its own kind."""

    def __init__(self, file, most):
        self._file, self._left = file, most

    def read(self, count):
        self._left -= count
        if self._left < 0:
            raise RuntimeError("Server disconnected")
        return self._file.read(count)

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_a_store_that_hangs_up_within_a_zip_is_a_line(bucket, monkeypatch):
    system, whole = fsspec.filesystem("memory"), 0
    open_file = type(system).open
    monkeypatch.setattr(addresses, "_BLOCK", 512)
    said = []
    for most in range(0, 40_000, 1500):
        monkeypatch.setattr(
            type(system), "open", lambda self, *a, m=most: Dropping(open_file(self, *a), m)
        )
        try:
            catalog = open_photos(f"{bucket}/packed.zip")
        except InputError as error:
            said.append(str(error))
            continue
        with PhotoReader() as reader:
            for photo in catalog.photos:
                try:
                    whole += reader.read(photo.locator) == PHOTOS[photo.locator.members[-1]]
                except UnreadablePhoto as error:
                    said.append(str(error))
    assert whole
    assert said
    assert [line for line in said if "disconnected" not in line or "\n" in line] == []


def test_a_photo_that_is_gone_or_too_large_is_unreadable(bucket, monkeypatch):
    place = Locator(f"{bucket}/photos/kalina/2.jpg")
    assert read_bytes(place) == PHOTOS["kalina/2.jpg"]
    with pytest.raises(UnreadablePhoto, match="too large"):
        read_bytes(place, max_bytes=20)
    with pytest.raises(UnreadablePhoto, match="does not exist"):
        read_bytes(Locator(f"{bucket}/photos/gone.jpg"))
    assert len(PHOTOS["kalina/2.jpg"]) < MAX_FILE_BYTES
    # A system's own errors, whatever they are, are a row's reason and no traceback.
    monkeypatch.setattr(fsspec.filesystem("memory"), "cat_file", lambda *_, **__: 1 / 0)
    with pytest.raises(UnreadablePhoto, match="cannot be read: division by zero"):
        read_bytes(place)


def test_a_changed_photo_is_another_task(bucket):
    before = fingerprint(open_photos(f"{bucket}/photos"), by_time=True)
    assert fingerprint(open_photos(f"{bucket}/photos"), by_time=True) == before
    fsspec.filesystem("memory").pipe("/bucket/photos/kalina/2.jpg", PHOTOS["Нива/0.jpg"])
    assert fingerprint(open_photos(f"{bucket}/photos"), by_time=True) != before
    assert tell_change(f"{bucket}/photos/gone.jpg") is None


def test_only_what_a_person_types_is_an_address(bucket, tmp_path, monkeypatch):
    """Rows of tables name files on this machine, whatever they look like."""

    def reach(*_):
        raise AssertionError("an address was asked")

    monkeypatch.setattr(addresses, "_find", reach)
    monkeypatch.chdir(tmp_path)
    photo = f"{bucket}/photos/kalina/2.jpg"
    rows = "".join(f"{name},{label}\n" for name, label in [(photo, 0), ("x.jpg", 1)])
    Path("train.csv").write_text(f"Path,Category\n{rows}")
    Path("x.jpg").write_bytes(PHOTOS["kalina/2.jpg"])
    found = [one.locator for one in open_lot("train.csv").train.photos if one.locator]
    assert [one.path.name for one in found] == ["x.jpg"]
    assert not is_address(read_place(photo, "[]").file)
    assert not is_address(Locator(Path(photo)).file)
    with pytest.raises(
        InputError, match=r"^memory://bucket/\S* looks like an address: .*copy other data to this"
    ):
        open_lot(photo)


def test_a_place_is_written_as_it_is(bucket):
    photo = next(iter(open_photos(f"{bucket}/packed.zip").photos))
    file, members = write_place(photo)
    assert file == "memory:///bucket/packed.zip" or file == f"{bucket}/packed.zip"
    assert json.loads(members) == list(photo.locator.members)


def test_without_fsspec_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingExtra, match="cluster"):
        open_photos("s3://bucket/photos")


def test_files_are_listed_in_order_of_name(bucket):
    names = [name for name, _ in list_files(f"{bucket}/photos/")]
    assert names == sorted(names)
    assert "kalina/2.jpg" in names
