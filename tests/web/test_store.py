"""The desk's memory, alike in SQLite and PostgreSQL: nothing is lost that is said to be kept."""

import subprocess
import sys
import threading

import pytest

from lotlens.errors import InputError
from lotlens.web import store as memory
from lotlens.web.store import NONE_OF_THESE, Store
from tests.web.conftest import draw

ANSWER = {"sentence": "Это Lada Kalina.", "probability": 0.5, "cars": []}


@pytest.fixture
def store(database):
    store = Store(database)
    yield store
    store.close()


def test_checks_come_back_as_they_were_the_last_one_first(store):
    ids = [store.remember("abc", ANSWER | {"number": k}, [b"1", b"2"]) for k in range(3)]
    assert [check.id for check in store.list_checks()] == ids[::-1]
    assert [check.id for check in store.list_checks(2)] == ids[:0:-1]
    check = store.find_check(ids[0])
    assert check.answer == ANSWER | {"number": 0}
    assert (check.model_id, len(check.photos_sha256), check.correction) == ("abc", 2, None)
    assert store.find_check("nobody") is None


def test_a_correction_replaces_the_one_before_with_its_photos(store):
    photos = [draw("blue"), b"nothing", draw("red")]
    check = store.find_check(store.remember("abc", ANSWER, photos))
    with pytest.raises(InputError, match="not the photos"):
        store.correct(check, "1", "Heron", photos[:2])
    for label, name in (("1", "Heron"), (NONE_OF_THESE, "")):
        store.correct(check, label, name, photos)
        (found,) = store.list_corrected()
        assert found.correction == (label, name)
    assert len(store.read_photos(check.id)) == 2
    assert store.write_csv().splitlines()[1].startswith(f"{check.id},")


def test_keys_open_until_they_are_removed(store):
    keys = {name: store.make_key(name) for name in ("shop", "чат")}
    assert len(set(keys.values())) == 2
    for name, key in keys.items():
        assert store.find_key(key) == name
    with pytest.raises(InputError, match="already"):
        store.make_key("чат")
    assert [name for name, _ in store.list_keys()] == ["shop", "чат"]
    assert store.remove_key("чат")
    assert not store.remove_key("чат")
    assert store.find_key(keys["чат"]) is None
    assert store.find_key("\ud800") is None


def test_old_checks_go_but_not_those_that_were_corrected(store, monkeypatch):
    monkeypatch.setattr(memory, "MOST_CHECKS", 2)
    first = store.find_check(store.remember("m", ANSWER, [b"1"]))
    store.correct(first, "1", "one", [b"1"])
    ids = [store.remember("m", ANSWER, [b"2"]) for _ in range(3)]
    assert [check.id for check in store.list_checks()] == [ids[2], ids[1], first.id]
    assert store.find_check(first.id).correction == ("1", "one")


def test_many_threads_lose_nothing(store):
    def remember():
        for _ in range(10):
            store.remember("m", ANSWER, [b"1"])

    threads = [threading.Thread(target=remember) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(store.list_checks(100)) == 40


KILLED = """
import os, signal, sys
from lotlens.web.store import Store
store = Store(sys.argv[1])
check = store.find_check(store.remember("m", {"sentence": "x"}, [b"1"]))
store.correct(check, "1", "one", [b"1"])
print(check.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_loses_no_correction(database):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, database], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9, done.stderr
    store = Store(database)
    assert store.find_check(done.stdout.strip()).correction == ("1", "one")
    store.close()


def test_two_at_once_correct_in_turn_and_a_check_that_is_gone_is_told(store, monkeypatch):
    photos = [draw("blue")]
    check = store.find_check(store.remember("abc", ANSWER, photos))
    both = threading.Barrier(2)
    strip = memory.strip
    monkeypatch.setattr(memory, "strip", lambda photo: (both.wait(), strip(photo))[1])
    done = []
    threads = [
        threading.Thread(target=lambda one=one: done.append(store.correct(check, one, one, photos)))
        for one in "12"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True, True]
    (found,) = store.list_corrected()
    assert found.correction in (("1", "1"), ("2", "2"))
    assert len(store.read_photos(check.id)) == 1
    monkeypatch.setattr(memory, "strip", strip)
    monkeypatch.setattr(memory, "MOST_CHECKS", 1)
    old = store.find_check(store.remember("abc", ANSWER, photos))
    store.remember("abc", ANSWER, photos)
    assert store.correct(old, "1", "1", photos) is False
    assert len(store.list_corrected()) == 1
