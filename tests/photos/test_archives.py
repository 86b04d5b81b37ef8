"""archives: members come back byte for byte from every nesting; hostile archives are refused."""

from __future__ import annotations

import io
import os
import pickle
import random
import signal
import stat
import struct
import threading
import unicodedata
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.errors import InputError, UnreadablePhoto
from lotlens.photos import archives
from lotlens.photos.archives import PhotoReader, is_hidden, read_bytes
from lotlens.records import Locator

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def pack(members: dict[str, bytes], method: int = STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def write(path: Path, members: dict[str, bytes], method: int = STORED) -> Locator:
    path.write_bytes(pack(members, method))
    return Locator(path)


def names(locator: Locator) -> list[str]:
    with PhotoReader() as reader:
        return [member.name for member in reader.list_members(locator)]


def refuse_list(locator: Locator) -> str:
    with pytest.raises(InputError) as caught:
        names(locator)
    return str(caught.value)


def refuse_read(locator: Locator, **options: int) -> str:
    with pytest.raises(UnreadablePhoto) as caught:
        read_bytes(locator, **options)
    return caught.value.reason


PHOTOS = {f"train/{i % 3}/{i}.jpg": random.Random(i).randbytes(3000 + i) for i in range(40)}


def test_plain_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    assert read_bytes(Locator(tmp_path / "a.jpg")) == b"abc"


def test_plain_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "no such file" in refuse_read(Locator(tmp_path / "none.jpg"))
    assert "folder" in refuse_read(Locator(tmp_path / "x.jpg"))
    assert "not a plain file" in refuse_read(Locator(tmp_path / "pipe.jpg"))
    assert "cannot be read" in refuse_read(Locator(tmp_path / ("n" * 300 + ".jpg")))


def test_a_sparse_file_of_4_gb_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(4 << 30)
    assert "too large: 4,294,967,296 bytes" in refuse_read(Locator(tmp_path / "big.jpg"))
    with (tmp_path / "big.zip").open("wb") as file:
        file.truncate(4 << 30)
    assert "damaged or not a zip" in refuse_list(Locator(tmp_path / "big.zip"))


@pytest.mark.parametrize("inner", [STORED, DEFLATED])
@pytest.mark.parametrize("outer", [None, STORED, DEFLATED])
def test_members_come_back_in_any_order(
    tmp_path: Path, inner: int, outer: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small strides, so that a few photos cross many stops of the inflated view.
    monkeypatch.setattr(archives._Inflated, "_STRIDE", 5000)
    monkeypatch.setattr(archives._Inflated, "_CHUNK", 700)
    path = tmp_path / "all.zip"
    if outer is None:
        archive = write(path, PHOTOS, inner)
    else:
        write(path, {"read.me": b"x", "in/train.zip": pack(PHOTOS, inner)}, outer)
        archive = Locator(path, ("in/train.zip",))
    assert names(archive) == list(PHOTOS)
    order = list(PHOTOS) * 2
    random.Random(1).shuffle(order)
    with PhotoReader() as reader:
        for name in order:
            assert reader.read(Locator(path, (*archive.members, name))) == PHOTOS[name]


@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 9000)), max_size=20),
    st.integers(0, 2**32),
)
@settings(max_examples=30, deadline=None)
def test_the_inflated_view_is_the_file(reads: list[tuple[int, int]], seed: int) -> None:
    rng = random.Random(seed)
    plain = b"".join(rng.choice([rng.randbytes(500), bytes(500)]) for _ in range(100))
    squeeze = zlib.compressobj(wbits=-15)
    packed = squeeze.compress(plain) + squeeze.flush()
    view = archives._Inflated(io.BytesIO(b"head" + packed + b"tail"), 4, len(packed), len(plain))
    view._STRIDE, view._CHUNK = 4000, 512
    assert view.seek(0, os.SEEK_END) == len(plain)
    for position, count in reads:
        view.seek(position)
        assert view.read(count) == plain[position : position + count]
        assert view.tell() == min(position + count, max(len(plain), position))


def test_sizes_and_checksums_come_from_the_directory(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"1.jpg": b"abc"}, DEFLATED)
    with PhotoReader() as reader:
        (member,) = reader.list_members(archive)
    assert (member.raw, member.name) == ("1.jpg", "1.jpg")
    assert (member.size, member.crc) == (3, zlib.crc32(b"abc"))


def test_three_levels_are_too_deep(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"b.zip": pack({"c.zip": pack({"1.jpg": b"x"})})})
    assert "two levels" in refuse_list(Locator(tmp_path / "a.zip", ("b.zip", "c.zip")))
    with pytest.raises(InputError, match="unpack the outer one"):
        read_bytes(Locator(tmp_path / "a.zip", ("b.zip", "c.zip", "1.jpg")))


@pytest.mark.parametrize(
    "name", ["../1.jpg", "a/../../1.jpg", "/etc/1.jpg", "..\\1.jpg", "C:\\1.jpg", "a/.."]
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    words = refuse_list(write(tmp_path / "a.zip", {"ok.jpg": b"x", name: b"x"}))
    assert "leads out of the archive" in words
    assert str(tmp_path / "a.zip") in words


def test_links_and_system_files_are_left_out(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.jpg")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        for name in ["__MACOSX/._1.jpg", ".DS_Store", "a/Thumbs.db", "a/", "./1.jpg", "a/.git/x"]:
            archive.writestr(name, b"")
    assert names(Locator(tmp_path / "a.zip")) == ["1.jpg"]
    assert "not followed" in refuse_read(Locator(tmp_path / "a.zip", ("link.jpg",)))
    assert "folder" in refuse_read(Locator(tmp_path / "a.zip", ("a/",)))
    assert read_bytes(Locator(tmp_path / "a.zip", ("./1.jpg",))) == b""


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("a/1.jpg", False),
        ("a.b/c.jpg", False),
        ("thumbs.db.jpg", False),
        (".hidden.jpg", True),
        ("a/.b/1.jpg", True),
        ("x/__MACOSX/1.jpg", True),
        ("a/desktop.INI", True),
    ],
)
def test_is_hidden(name: str, hidden: bool) -> None:
    assert is_hidden(name) is hidden


def change(path: Path, pattern: bytes, offset: int, value: bytes) -> None:
    """Overwrites bytes of every record that starts with the pattern."""
    data = bytearray(path.read_bytes())
    position = data.find(pattern)
    while position >= 0:
        data[position + offset : position + offset + len(value)] = value
        position = data.find(pattern, position + 1)
    path.write_bytes(bytes(data))


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def test_encrypted_members(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"1.jpg": b"x"})
    change(archive.path, LOCAL, 6, b"\x01\0")
    change(archive.path, CENTRAL, 8, b"\x01\0")
    assert "encrypted" in refuse_list(archive)
    assert "encrypted" in refuse_read(Locator(archive.path, ("1.jpg",)))
    outer = write(tmp_path / "b.zip", {"in.zip": archive.path.read_bytes()})
    assert "encrypted" in refuse_list(Locator(outer.path, ("in.zip",)))


@pytest.mark.parametrize(
    ("method", "shown"), [(zipfile.ZIP_BZIP2, "bzip2"), (9, "Deflate64"), (77, "method 77")]
)
def test_other_methods_are_named(tmp_path: Path, method: int, shown: str) -> None:
    archive = write(tmp_path / "a.zip", {"1.jpg": b"x"})
    change(archive.path, LOCAL, 8, struct.pack("<H", method))
    change(archive.path, CENTRAL, 10, struct.pack("<H", method))
    assert f"packed with {shown}" in refuse_list(archive)
    assert "deflate" in refuse_read(Locator(archive.path, ("1.jpg",)))


def test_bombs_are_refused_unread(tmp_path: Path) -> None:
    zeros = bytes(101_000_000)
    bomb = write(tmp_path / "a.zip", {"1.jpg": zeros}, DEFLATED)
    assert "zip bomb" in refuse_list(bomb)
    outer = write(tmp_path / "b.zip", {"in.zip": pack({"1.jpg": zeros})}, DEFLATED)
    assert "zip bomb" in refuse_list(Locator(outer.path, ("in.zip",)))
    assert "zip bomb" in refuse_read(Locator(outer.path, ("in.zip", "1.jpg")))
    assert "too large" in refuse_read(Locator(bomb.path, ("1.jpg",)), max_bytes=1_000_000)


@pytest.mark.parametrize("is_inner", [False, True])
def test_a_list_of_members_that_is_too_long_is_not_read(tmp_path: Path, is_inner: bool) -> None:
    plain = {f"{number}.jpg": b"x" for number in range(100)}
    archive = write(tmp_path / "a.zip", {"in.zip": pack(plain)} if is_inner else plain)
    where = Locator(archive.path, ("in.zip",) if is_inner else ())
    with PhotoReader(max_directory_bytes=1000) as reader:
        with pytest.raises(InputError, match="lists far too many files"):
            reader.list_members(where)
        with pytest.raises(UnreadablePhoto, match="lists far too many files"):
            reader.read(Locator(where.path, (*where.members, "1.jpg")))
        assert reader.peek(Locator(where.path, (*where.members, "1.jpg")), 1) == b""
    with PhotoReader(max_directory_bytes=10_000) as reader:
        assert len(reader.list_members(where)) == 100


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_zip_in_a_zip_can_be_bounded(tmp_path: Path, method: int) -> None:
    inner = pack({"1.jpg": b"photo", "2.txt": bytes(90_000)})
    outer = write(tmp_path / "a.zip", {"in.zip": inner}, method)
    where = Locator(outer.path, ("in.zip",))
    with (
        PhotoReader(max_inner_bytes=90_000) as reader,
        pytest.raises(InputError, match="too large for a zip within a zip"),
    ):
        reader.list_members(where)
    with PhotoReader(max_inner_bytes=len(inner)) as reader:
        with pickle.loads(pickle.dumps(reader)) as other:
            assert other.max_inner_bytes == len(inner)
        assert reader.read(Locator(outer.path, ("in.zip", "1.jpg"))) == b"photo"


def test_overlapping_members_are_counted_each(tmp_path: Path) -> None:
    # Fifield's bomb: many directory entries share one deflated kernel.
    kernel = pack({"0": bytes(1_000_000)}, DEFLATED)
    start = kernel.find(CENTRAL)
    entry = kernel[start : kernel.find(b"PK\x05\x06")]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 150, 150, 150 * len(entry), start, 0)
    (tmp_path / "a.zip").write_bytes(kernel[:start] + entry * 150 + end)
    assert "150,000,000 bytes" in refuse_list(Locator(tmp_path / "a.zip"))


def test_a_member_that_lies_about_its_size(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"1.jpg": bytes(5_000_000)}, DEFLATED)
    change(archive.path, LOCAL, 22, struct.pack("<I", 10))
    change(archive.path, CENTRAL, 24, struct.pack("<I", 10))
    assert "damaged in its archive" in refuse_read(Locator(archive.path, ("1.jpg",)))


def test_damage_stays_with_its_member(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"1.jpg": b"a" * 500, "2.jpg": b"b" * 500})
    change(archive.path, b"a" * 500, 100, b"Z")
    assert "damaged in its archive" in refuse_read(Locator(archive.path, ("1.jpg",)))
    assert read_bytes(Locator(archive.path, ("2.jpg",))) == b"b" * 500


def test_missing_and_damaged_archives(tmp_path: Path) -> None:
    whole = pack(PHOTOS)
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "folder.zip").mkdir()
    for name, words in [
        ("cut.zip", "damaged or not a zip"),
        ("empty.zip", "damaged or not a zip"),
        ("none.zip", "does not exist"),
        ("folder.zip", "is not a file"),
    ]:
        assert words in refuse_list(Locator(tmp_path / name))
        assert words in refuse_read(Locator(tmp_path / name, ("1.jpg",)))
    outer = write(tmp_path / "b.zip", {"in.zip": whole[: len(whole) // 2], "x.zip": b""}, DEFLATED)
    assert "damaged" in refuse_list(Locator(outer.path, ("in.zip",)))
    assert "damaged" in refuse_list(Locator(outer.path, ("x.zip",)))
    assert "no 'y.zip'" in refuse_list(Locator(outer.path, ("y.zip",)))
    assert "no member '1.jpg'" in refuse_read(Locator(outer.path, ("1.jpg",)))


ODD_NAMES = ["Жигули/фото.jpg", "🚗.jpg", "two\nlines.jpg", "Приора é.jpg", "a b;c,d.jpg"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_utf8_names(tmp_path: Path, name: str) -> None:
    archive = write(tmp_path / "a.zip", {name: b"x"})
    with PhotoReader() as reader:
        (member,) = reader.list_members(archive)
        assert member.name == name
        assert reader.read(Locator(archive.path, (member.raw,))) == b"x"


def write_raw_name(path: Path, name: bytes) -> None:
    """A zip whose member name is these bytes, without the UTF-8 flag, as old tools write it."""
    stand_in = "n" * len(name)
    path.write_bytes(pack({stand_in: b"x"}).replace(stand_in.encode(), name))


@pytest.mark.parametrize("encoding", ["cp866", "utf-8"])
def test_names_without_the_utf8_flag(tmp_path: Path, encoding: str) -> None:
    write_raw_name(tmp_path / "a.zip", "Нива/снег.jpg".encode(encoding))
    with PhotoReader() as reader:
        (member,) = reader.list_members(Locator(tmp_path / "a.zip"))
        assert member.name == "Нива/снег.jpg"
        assert reader.read(Locator(tmp_path / "a.zip", (member.raw,))) == b"x"


def test_decomposed_names_of_macos_are_composed(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"Цветной.jpg": b"x"})
    assert names(archive) == ["Цветной.jpg"]


def test_a_member_without_a_name_is_left_out(tmp_path: Path) -> None:
    data = bytearray(pack({"a.jpg": b"x"}))
    entry = data.rindex(b"PK\x01\x02")
    # Its name's five bytes become a comment.
    data[entry + 28 : entry + 34] = struct.pack("<HHH", 0, 0, 5)
    (tmp_path / "a.zip").write_bytes(bytes(data))
    assert names(Locator(tmp_path / "a.zip")) == []


@given(
    st.sampled_from(
        [pack(PHOTOS), pack(PHOTOS, DEFLATED), pack({"in.zip": pack(PHOTOS)}, DEFLATED)]
    ),
    st.lists(st.tuples(st.integers(-4000, -1), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 200),
)
@settings(max_examples=150, deadline=None)
def test_any_damage_is_one_of_two_errors(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    # The end of a zip holds its directory, where damage hurts most.
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position] = value
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    path.write_bytes(bytes(mutated[: len(mutated) - cut]))
    done = 0
    with PhotoReader() as reader:
        for archive in (Locator(path), Locator(path, ("in.zip",))):
            try:
                members = reader.list_members(archive)[:5]
            except InputError:
                continue
            for member in members:
                try:
                    reader.read(Locator(path, (*archive.members, member.raw)))
                except UnreadablePhoto:
                    continue
                done += 1
    assert done <= 10


def test_threads_share_a_reader(tmp_path: Path) -> None:
    write(tmp_path / "a.zip", {"in.zip": pack(PHOTOS)}, DEFLATED)
    write(tmp_path / "b.zip", PHOTOS, DEFLATED)
    faults: list[str] = []

    def work(seed: int) -> None:
        order = list(PHOTOS)
        random.Random(seed).shuffle(order)
        for name in order:
            for locator in (
                Locator(tmp_path / "a.zip", ("in.zip", name)),
                Locator(tmp_path / "b.zip", (name,)),
            ):
                if reader.read(locator) != PHOTOS[name]:
                    faults.append(str(locator))

    with PhotoReader() as reader:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults


def test_a_pickled_reader_carries_no_handles(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", PHOTOS)
    locator = Locator(archive.path, ("train/0/0.jpg",))
    with PhotoReader(max_bytes=5000) as reader:
        reader.read(locator)
        with pickle.loads(pickle.dumps(reader)) as other:
            assert other.max_bytes == 5000
            assert other.read(locator) == PHOTOS["train/0/0.jpg"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_reader_opens_its_own_handles(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", PHOTOS)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with reader._lock:
            held.set()
            done.wait(60)

    with PhotoReader() as reader:
        reader.read(Locator(archive.path, ("train/0/0.jpg",)))
        other = threading.Thread(target=hold)  # is reading at the moment of the fork
        other.start()
        held.wait(60)
        child = os.fork()
        if child == 0:  # pragma: no cover  (runs in the child)
            signal.alarm(20)  # a deadlock would keep the child for ever
            good = all(
                reader.read(Locator(archive.path, (name,))) == data for name, data in PHOTOS.items()
            )
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        done.set()
        other.join()
        for name, data in PHOTOS.items():
            assert reader.read(Locator(archive.path, (name,))) == data


def test_a_closed_reader_opens_again(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.zip", {"1.jpg": b"x"})
    reader = PhotoReader()
    for _ in range(2):
        assert reader.read(Locator(archive.path, ("1.jpg",))) == b"x"
        reader.close()


def test_many_archives_do_not_use_up_handles(tmp_path: Path) -> None:
    count = archives.MAX_OPEN_ARCHIVES + 5
    for number in range(count):
        write(tmp_path / f"{number}.zip", {"in.zip": pack({"1.jpg": b"%d" % number})})
    with PhotoReader() as reader:
        for number in [*range(count), 0]:
            locator = Locator(tmp_path / f"{number}.zip", ("in.zip", "1.jpg"))
            assert reader.read(locator) == b"%d" % number
            assert len(reader._open) <= archives.MAX_OPEN_ARCHIVES


@pytest.mark.parametrize(
    ("local", "central", "value", "words"),
    [
        (6, 8, 0x1, "encrypted"),
        (8, 10, zipfile.ZIP_LZMA, "other than deflate"),
        (0, 40, 0, "damaged"),
    ],
)
def test_inner_zips_that_cannot_be_opened(
    tmp_path: Path, local: int, central: int, value: int, words: str
) -> None:
    # The inner zip is deflated, so that only the outer records are changed.
    outer = write(tmp_path / "a.zip", {"in.zip": pack({"1.jpg": b"x" * 99})}, DEFLATED)
    change(outer.path, CENTRAL, central, struct.pack("<H", value))
    change(outer.path, LOCAL, local, struct.pack("<H", value))
    inner = Locator(outer.path, ("in.zip",))
    assert words in refuse_list(inner)
    assert words in refuse_read(Locator(outer.path, ("in.zip", "1.jpg")))


def pack_list(members: list[tuple[str, bytes]]) -> bytes:
    """As `pack`, but names may be there twice."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train/1.jpg", "train/1.jpg"),
        ("train/1.jpg", "train//1.jpg"),
        ("train/1.jpg", "train/./1.jpg"),
        ("train/1.jpg", "./train/1.jpg"),
        ("train/1.jpg", "train\\1.jpg"),
        ("train/й.jpg", "train/и\u0306.jpg"),
        ("train/é.jpg", "train/e\u0301.jpg"),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("is_nested", [False, True])
def test_one_place_holds_one_file_and_the_last_is_read(tmp_path, one, other, swapped, is_nested):
    if swapped:
        one, other = other, one
    data = pack_list([(one, b"first"), ("train/2.jpg", b"2"), (other, b"second")])
    path = tmp_path / "a.zip"
    path.write_bytes(pack({"inner.zip": data}) if is_nested else data)
    locator = Locator(path, ("inner.zip",) if is_nested else ())
    with PhotoReader() as reader:
        members = {member.name: member for member in reader.list_members(locator)}
        place = unicodedata.normalize("NFC", one.replace("\\", "/"))
        place = place.removeprefix("./").replace("//", "/").replace("/./", "/")
        assert set(members) == {place, "train/2.jpg"}
        assert reader.list_repeated(locator) == ((place, False),)
        raw = members[place].raw
        assert reader.read(Locator(path, (*locator.members, raw))) == b"second"
        assert members[place].crc == zlib.crc32(b"second")


def test_names_of_other_letters_are_other_places(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(pack({"1.jpg": b"a", "1.JPG": b"b", "a/1.jpg": b"c"}))
    assert names(Locator(path)) == ["1.jpg", "1.JPG", "a/1.jpg"]
    with PhotoReader() as reader:
        assert reader.list_repeated(Locator(path)) == ()


def test_a_link_of_the_same_name_takes_the_place_of_a_file(tmp_path):
    link = zipfile.ZipInfo("1.jpg")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("1.jpg", b"photo")
        archive.writestr(link, b"/etc/passwd")
        archive.writestr("2.jpg", b"2")
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    assert names(Locator(tmp_path / "a.zip")) == ["2.jpg"]


def test_a_zip_cut_off_behind_a_zip_within_it_is_not_taken_for_that_one(tmp_path: Path) -> None:
    inner = pack({"1.jpg": b"photo"})
    whole = pack({"train.csv": b"Id,Category\n", "train.zip": inner, "test.zip": inner})
    cut = whole[: whole.index(inner) + len(inner)]
    with zipfile.ZipFile(io.BytesIO(cut)) as found:
        assert found.namelist() == ["1.jpg"]  # what it would be read as
    (tmp_path / "cut.zip").write_bytes(cut)
    assert "damaged" in refuse_list(Locator(tmp_path / "cut.zip"))
    assert "another zip" in refuse_list(Locator(tmp_path / "cut.zip"))
    for mark in (b"PK\x07\x08", b"PK00"):  # of a zip in volumes
        (tmp_path / "split.zip").write_bytes(mark + cut)
        assert "another zip" in refuse_list(Locator(tmp_path / "split.zip"))
    # What unpacks itself begins with a program, and is a zip nevertheless.
    (tmp_path / "sfx.zip").write_bytes(b"MZ" + bytes(500) + whole)
    assert names(Locator(tmp_path / "sfx.zip")) == ["train.csv", "train.zip", "test.zip"]
