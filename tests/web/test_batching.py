"""The queue before the engine: nothing accepted is lost, nothing unbounded is held."""

import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.errors import BundleError
from lotlens.records import CarClass, Predictions
from lotlens.web import batching as batching_module
from lotlens.web.batching import (
    LONGEST_WAIT_S,
    MOST_BATCH_PIXELS,
    MOST_IN_BATCH,
    Batching,
    Bounds,
    Busy,
    Ending,
    Pace,
    Served,
    Upload,
)

CLASSES = (CarClass("0", "Heron"), CarClass("1", "Clover"))
PATIENCE_S = 30
ROOMY = Bounds(most_lone_answers=1e6, most_photos=10_000)


class Model:
    """Answers with what stands in a photo's bytes, once it is let; notes its batches."""

    card = None

    def __init__(self, num_streams=1, *, is_held=False):
        self.num_streams = num_streams
        self.batches = []
        self.begun = threading.Semaphore(0)
        self.may_go = threading.Event()
        if not is_held:
            self.may_go.set()

    def answer_bytes(self, photos, ids):
        self.batches.append([bytes(photo) for photo in photos])
        self.begun.release()
        assert self.may_go.wait(PATIENCE_S)
        if b"bad" in photos:
            raise BundleError("the model is damaged")
        logits = np.array([[float(photo or b"0"), 0.0] for photo in photos], np.float32)
        return Predictions(tuple(ids), logits, None, ("ok",) * len(ids), CLASSES)


def make(*photos, num_pixels=100):
    return [Upload(photo, num_pixels) for photo in photos]


@pytest.fixture
def serve():
    opened = []

    def serve(model, bounds=None, **options):
        opened.append((Batching(Served("one", model), bounds, **options), model))
        return opened[-1][0]

    yield serve
    for batching, model in opened:
        model.may_go.set()
        batching.close(wait_s=PATIENCE_S)


def test_what_waits_behind_comes_after_requests_and_takes_no_room(serve):
    model = Model(is_held=True)
    batching = serve(model, Bounds(most_photos=2))
    behind = batching.submit_behind(make(*(b"%d" % n for n in range(5))))
    assert model.begun.acquire(timeout=PATIENCE_S)
    assert batching.num_held == 0
    with batching.admit(10) as ticket:
        asked = ticket.submit(make(b"70", b"71"))
        model.may_go.set()
        assert read(asked) == [70, 71]
    assert read(behind) == [0, 1, 2, 3, 4]
    assert model.batches == [[b"0", b"1"], [b"70", b"71"], [b"2", b"3"], [b"4"]]


def test_while_requests_come_a_worker_is_left_free_for_them(serve, monkeypatch):
    model = Model(num_streams=2)
    batching = serve(model)
    with batching.admit(10) as ticket:
        assert read(ticket.submit(make(b"9"))) == [9]
    model.may_go.clear()
    assert model.begun.acquire(timeout=PATIENCE_S)
    behind = batching.submit_behind(make(*(b"%d" % n for n in range(6))))
    assert model.begun.acquire(timeout=PATIENCE_S)
    with batching.admit(10) as ticket:
        asked = ticket.submit(make(b"70"))
        assert model.begun.acquire(timeout=PATIENCE_S), "by the worker that was left free"
        assert model.batches[-2:] == [[b"0", b"1"], [b"70"]]
        model.may_go.set()
        assert read(asked) == [70]
    assert read(behind) == [0, 1, 2, 3, 4, 5]
    # Where nobody asks, both work.
    monkeypatch.setattr(batching_module, "QUIET_S", 0.0)
    model.may_go.clear()
    while model.begun.acquire(blocking=False):
        pass
    behind = batching.submit_behind(make(*(b"%d" % n for n in range(6))))
    assert model.begun.acquire(timeout=PATIENCE_S)
    assert model.begun.acquire(timeout=PATIENCE_S)
    model.may_go.set()
    assert read(behind) == [0, 1, 2, 3, 4, 5]


def test_what_waits_behind_is_answered_by_its_own_model_and_to_the_end(serve):
    model, other = Model(is_held=True), Model()
    batching = serve(model)
    behind = batching.submit_behind(make(b"1", b"2", b"3"))
    assert model.begun.acquire(timeout=PATIENCE_S)
    batching.swap(Served("two", other))
    model.may_go.set()
    assert behind.result(PATIENCE_S).served.id == "one"
    assert batching.submit_behind(make(b"4")).result(PATIENCE_S).served.id == "two"
    batching.end()
    with pytest.raises(Ending):
        batching.submit_behind(make(b"5"))


def read(future):
    answered = future.result(PATIENCE_S)
    return answered.predictions.logits[:, 0].tolist()


def test_a_lone_request_is_answered_at_once_in_its_own_order(serve):
    batching = serve(Model(num_streams=2))
    with batching.admit(10) as ticket:
        future = ticket.submit(make(*(b"%d" % n for n in range(20))))
        assert read(future) == list(range(20))
        assert future.result().served.id == "one"
        assert future.result().predictions.ids == tuple(map(str, range(20)))
    assert batching.num_held == 0


def test_what_queued_while_the_engine_was_busy_is_the_next_batch(serve):
    model = Model(is_held=True)
    batching = serve(model, ROOMY)
    tickets = [batching.admit(1) for _ in range(6)]
    futures = [tickets[0].submit(make(b"0"))]
    assert model.begun.acquire(timeout=PATIENCE_S)
    futures += [ticket.submit(make(b"%d" % n)) for n, ticket in enumerate(tickets[1:], start=1)]
    model.may_go.set()
    assert [read(future) for future in futures] == [[n] for n in range(6)]
    assert model.batches == [[b"0"], [b"1", b"2", b"3", b"4", b"5"]]


def test_workers_share_what_waits_and_batches_are_bounded(serve):
    model = Model(num_streams=2, is_held=True)
    batching = serve(model, ROOMY)
    ticket = batching.admit(1)
    future = ticket.submit(make(*[b"1"] * 6))
    for _ in range(2):
        assert model.begun.acquire(timeout=PATIENCE_S)
    # The one who came first has half; the other half of what was left then.
    assert sorted(map(len, model.batches)) in ([2, 3], [3, 3])
    more = batching.admit(1).submit(make(*[b"1"] * 100))
    large = batching.admit(1).submit(make(b"2", b"2", num_pixels=MOST_BATCH_PIXELS))
    model.may_go.set()
    assert len(wait([future, more, large], PATIENCE_S).done) == 3
    assert max(map(len, model.batches)) == MOST_IN_BATCH
    assert all(len(batch) == 1 for batch in model.batches if b"2" in batch)


def test_what_does_not_fit_is_refused_at_the_door_with_a_time(serve):
    model = Model(is_held=True)
    batching = serve(model, Bounds(most_photos=3, most_pixels=1000, most_bytes=50))
    first = batching.admit(10)
    first.submit(make(b"1", b"1"))
    with batching.admit(10), pytest.raises(Busy) as caught:
        batching.admit(10)
    assert 1 <= caught.value.retry_after_s <= LONGEST_WAIT_S
    with pytest.raises(Busy):  # in bytes
        batching.admit(41)
    late = batching.admit(40)
    with pytest.raises(Busy):  # in pixels, which are known once the body is read
        late.submit(make(b"1", num_pixels=900))
    with pytest.raises(Busy):  # in photos
        late.submit(make(b"1", b"1"))
    late.close()
    second = batching.admit(10)
    second.submit(make(b"1", num_pixels=800))
    second.close()
    first.close()
    assert batching.num_held == 0
    # Whoever comes alone is let in, whatever it takes: each request has bounds of its own.
    alone = batching.admit(1000)
    model.may_go.set()
    assert read(alone.submit(make(*[b"1"] * 9, num_pixels=10_000))) == [1] * 9


def test_who_would_wait_too_long_is_not_let_in():
    pace = Pace()
    pace.note(0.05, True)  # the first is believed as it is
    assert (pace.photo_s, pace.lone_s) == (0.05, 0.05)
    assert pace.count_in_time(4, 2) == 8
    for _ in range(100):
        pace.note(0.1, False)  # others take the cores: half as many are answered in that time
    assert (pace.lone_s, pace.count_in_time(4, 2)) == (0.05, 4)
    for _ in range(100):
        pace.note(0.0125, False)  # batches pay: a photo takes a quarter of what a lone one takes
    assert pace.count_in_time(4, 2) == 32
    for _ in range(100):
        pace.note(0.0125, True)
    assert pace.count_in_time(4, 2) == 8


def test_the_door_follows_the_pace_and_shuts_for_those_who_come(serve):
    model = Model(num_streams=2, is_held=True)
    batching = serve(model)
    batching._pace.note(0.05, True)
    room = round(Bounds().most_lone_answers * 2)
    tickets = [batching.admit(1) for _ in range(room)]
    for refused in (batching.check_room, lambda: batching.admit(1)):
        with pytest.raises(Busy):
            refused()
    # Who is in already may turn out to bring many: its body is read by then.
    futures = [tickets[0].submit(make(*[b"1"] * 12))]
    for _ in range(100):
        batching._pace.note(1.0, False)  # so that fewer than those that keep all workers busy fit
    for ticket in tickets[1:]:
        ticket.close()
    with pytest.raises(Busy) as caught:
        batching.check_room()
    assert caught.value.retry_after_s == 6  # 12 photos, a second each, two at a time
    model.may_go.set()
    assert read(futures[0]) == [1] * 12
    tickets[0].close()
    tickets = [batching.admit(1) for _ in range(4)]  # and yet two for each worker
    with pytest.raises(Busy):
        batching.admit(1)


def test_pixels_that_wait_close_the_door(serve):
    model = Model(is_held=True)
    batching = serve(model, Bounds(most_pixels=1000))
    batching.admit(1).submit(make(b"1", num_pixels=1000))
    with pytest.raises(Busy):
        batching.admit(1)


def test_whoever_has_gone_is_not_answered(serve):
    model = Model(is_held=True)
    batching = serve(model)
    batching.admit(1).submit(make(b"1"))
    assert model.begun.acquire(timeout=PATIENCE_S)
    gone, there = batching.admit(1), batching.admit(1)
    dropped, kept = gone.submit(make(b"2", b"3")), there.submit(make(b"4"))
    gone.close()
    gone.close()
    model.may_go.set()
    assert read(kept) == [4]
    with pytest.raises(CancelledError):
        dropped.result(0)
    assert model.batches == [[b"1"], [b"4"]]
    # One that leaves while it is being answered harms nobody either.
    model.may_go.clear()
    leaving = batching.admit(1)
    leaving.submit(make(b"5"))
    for _ in range(2):
        assert model.begun.acquire(timeout=PATIENCE_S)
    leaving.close()
    model.may_go.set()
    assert read(batching.admit(1).submit(make(b"6"))) == [6]


def test_a_model_that_fails_fails_its_batch_alone(serve):
    batching = serve(Model())
    with pytest.raises(BundleError):
        batching.admit(1).submit(make(b"bad")).result(PATIENCE_S)
    assert read(batching.admit(1).submit(make(b"7"))) == [7]


def test_a_swap_loses_nothing_and_no_answer_is_of_two_models(serve):
    old, new = Model(is_held=True), Model()
    batching = serve(old, ROOMY)
    before = [batching.admit(1).submit(make(b"1", b"2")) for _ in range(10)]
    batching.swap(Served("two", new))
    after = batching.admit(1).submit(make(b"3"))
    assert read(after) == [3]
    assert after.result().served.id == batching.served.id == "two"
    old.may_go.set()
    assert [read(future) for future in before] == [[1, 2]] * 10
    assert {future.result().served.id for future in before} == {"one"}
    assert not any(b"3" in batch for batch in old.batches)
    batching.close(wait_s=PATIENCE_S)


def test_an_end_answers_what_was_let_in_and_lets_nobody_in(serve):
    before = set(threading.enumerate())  # other tests may still end theirs
    model = Model(is_held=True)
    batching = serve(model)
    queued, reading = batching.admit(1), batching.admit(1)
    futures = [queued.submit(make(b"1", b"2"))]
    batching.end()
    assert batching.is_ending
    with pytest.raises(Ending):
        batching.admit(1)
    futures.append(reading.submit(make(b"3")))
    model.may_go.set()
    batching.close(wait_s=PATIENCE_S)
    assert [read(future) for future in futures] == [[1, 2], [3]]
    new = set(threading.enumerate()) - before
    assert not [thread for thread in new if thread.name.startswith("answers_")]


def test_it_tells_of_every_batch(serve):
    told = []
    batching = serve(Model(), told=lambda *batch: told.append(batch))
    batching.admit(1).submit(make(b"1", b"2")).result(PATIENCE_S)
    batching.close(wait_s=PATIENCE_S)
    assert [count for count, _ in told] == [2]
    assert all(took_s >= 0 for _, took_s in told)


def test_waiting_for_work_takes_no_time_of_the_processor(serve):
    batching = serve(Model(num_streams=4))
    batching.admit(1).submit(make(b"1")).result(PATIENCE_S)
    time.sleep(0.05)
    before_s = time.process_time()
    time.sleep(0.5)
    # Polling a thousand times a second takes several hundredths; sleeping takes none.
    assert time.process_time() - before_s < 0.02


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=25),
    num_streams=st.integers(1, 3),
    swaps=st.sets(st.integers(0, 24)),
    leaving=st.sets(st.integers(0, 24)),
)
def test_every_request_has_its_own_answer_whatever_happens(sizes, num_streams, swaps, leaving):
    batching = Batching(Served("0", Model(num_streams)), ROOMY)
    asked = []
    for number, size in enumerate(sizes):
        if number in swaps:
            batching.swap(Served(str(number), Model(num_streams)))
        ticket = batching.admit(1)
        photos = [b"%d" % (100 * number + k) for k in range(size)]
        asked.append((ticket, photos, ticket.submit(make(*photos))))
        if number in leaving:
            ticket.close()
    for number, (ticket, photos, future) in enumerate(asked):
        if number not in leaving:
            assert read(future) == [float(photo) for photo in photos]
            ticket.close()
    batching.close(wait_s=PATIENCE_S)
    assert batching.num_held == 0
