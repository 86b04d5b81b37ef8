"""Threads keep nobody waiting, and share memory in turn."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from queue import SimpleQueue

import pytest

from lotlens.threads import ByteBudget, call_in_time, has_busy_threads, map_ahead


def map_all(work, items, num_threads=3, num_ahead=4):
    return map_ahead(work, items, num_threads=num_threads, num_ahead=num_ahead, name="test")


@pytest.mark.parametrize("num_threads", [1, 3, 9])
def test_results_come_in_order(num_threads):
    assert list(map_all(lambda x: x * x, range(50), num_threads)) == [x * x for x in range(50)]
    assert list(map_all(lambda x: x, [])) == []
    assert not [one for one in threading.enumerate() if one.name.startswith("test_")]


def test_no_more_is_taken_than_there_is_room_for():
    taken = []
    stream = map_all(lambda x: x, (taken.append(x) or x for x in range(100)), num_ahead=5)
    next(stream)
    assert len(taken) == 6
    stream.close()


def test_errors_come_at_their_place():
    stream = map_all(lambda x: 1 // x, [1, 0, 1])
    assert next(stream) == 1
    with pytest.raises(ZeroDivisionError):
        next(stream)


def test_what_was_taken_is_not_kept():
    class Thing:
        pass

    stream = map_all(lambda _: Thing(), range(20), num_threads=1)
    seen = weakref.ref(next(stream))
    next(stream)
    gc.collect()
    assert seen() is None
    stream.close()


def test_a_busy_thread_is_left_behind():
    begun, release = threading.Event(), threading.Event()

    def work(number):
        if number:
            begun.set()
            release.wait()

    stream = map_all(work, range(9), num_threads=1, num_ahead=2)
    next(stream)
    begun.wait()
    stream.close()  # returns, though the thread does not
    assert has_busy_threads()
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("test_"):
            thread.join()
    assert not has_busy_threads()


def test_a_call_ends_in_time_or_is_left_behind():
    assert call_in_time(lambda: 3, 60, name="test") == 3
    with pytest.raises(ZeroDivisionError):
        call_in_time(lambda: 1 // 0, 60, name="test")
    release = threading.Event()
    with pytest.raises(TimeoutError):
        call_in_time(release.wait, 0.01, name="test_late")
    assert has_busy_threads()
    release.set()
    (thread,) = [one for one in threading.enumerate() if one.name == "test_late"]
    thread.join()
    assert not has_busy_threads()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_is_heard_though_it_does_not_wake_the_caller():
    """As where it comes when the caller is about to wait: here another thread takes it."""

    may_end, told = threading.Event(), SimpleQueue()

    def work(_):
        threading.Event().wait(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        told.put(may_end.wait(30))

    with pytest.raises(KeyboardInterrupt):
        list(map_ahead(work, range(1), num_threads=1, num_ahead=1, name="test"))
    may_end.set()
    assert told.get(timeout=60)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_does_not_wait_for_a_busy_thread():
    # A lock that is never given back stands for a decoder that is deep in C.
    code = """
import sys, threading
import lotlens.cli.app as app
from lotlens.threads import map_ahead

def work(_):
    print("begun", flush=True)
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()

def run():
    try:
        for _ in map_ahead(work, range(3), num_threads=2, num_ahead=2, name="test"):
            pass
    except KeyboardInterrupt:
        sys.exit(130)

app._run = run
app.main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


# --- the budget ---


def start(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(condition):
    while not condition():
        threading.Event().wait(0.001)


def test_what_fits_is_held_at_once_and_given_back():
    budget = ByteBudget(10)
    with budget.hold(4), budget.hold(6):
        assert budget.num_held == 10
    assert budget.num_held == 0
    with pytest.raises(ZeroDivisionError), budget.hold(10):
        _ = 1 // 0
    assert budget.num_held == 0


def test_too_much_is_let_in_alone_and_in_its_turn():
    budget = ByteBudget(10)
    order = []
    first = budget.hold(4)

    def ask(num_bytes):
        with budget.hold(num_bytes):
            order.append(num_bytes)

    large = start(lambda: ask(50))
    wait_until(lambda: len(budget._queue) == 1)
    small = start(lambda: ask(5))  # would fit, and does not overtake
    wait_until(lambda: len(budget._queue) == 2)
    assert order == []
    first.give_back()
    large.join()
    small.join()
    assert order == [50, 5]
    assert budget.num_held == 0


def test_no_more_is_held_than_there_is():
    budget = ByteBudget(10)
    most = []

    def work():
        for num_bytes in (3, 7, 1, 10, 5) * 40:
            with budget.hold(num_bytes):
                most.append(budget.num_held)

    threads = [start(work) for _ in range(8)]
    for thread in threads:
        thread.join()
    assert max(most) <= 10
    assert budget.num_held == 0


def test_shared_bytes_are_held_until_the_last_owner_gives_them_back():
    budget = ByteBudget(10)
    with budget.hold(8) as held:
        other = held.share()
    assert budget.num_held == 8
    other.give_back()
    assert budget.num_held == 0


def test_who_is_interrupted_while_waiting_holds_nothing(monkeypatch):
    budget = ByteBudget(10)
    held = budget.hold(10)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Event, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        budget.hold(3)
    monkeypatch.undo()
    held.give_back()
    assert budget.num_held == 0
    assert not budget._queue
    with budget.hold(10):
        pass


def test_nothing_is_held_in_another_process():
    budget = ByteBudget(10)
    with budget.hold(10):
        copy = pickle.loads(pickle.dumps(budget))
        assert (copy.num_bytes, copy.num_held) == (10, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_waits_for_no_thread_of_its_parent():
    budget = ByteBudget(10)
    held = budget.hold(10)
    budget._lock.acquire()  # as if another thread were just in there
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with budget.hold(10):
                held.give_back()  # of the parent's: counts for nothing here
                code = 0 if budget.num_held == 10 else 2
        finally:
            os._exit(code)
    budget._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held.give_back()
    assert budget.num_held == 0
