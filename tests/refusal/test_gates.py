"""Gates keep what they promise, and every photo gets one verdict that says why."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.answering.answers import probabilities, take_rows, to_rows
from lotlens.errors import InputError
from lotlens.records import (
    FAMILIARITIES,
    METHODS,
    OK,
    CarClass,
    Gate,
    KnownOdds,
    Metric,
    Predictions,
    Refusal,
)
from lotlens.refusal.gates import (
    Strangers,
    choose_strict_threshold,
    choose_threshold,
    compare_methods,
    learn_refusal,
    measure_separation,
)
from lotlens.refusal.verdicts import (
    KINDS,
    NAMING,
    OTHER_CAR,
    PARTS,
    Verdict,
    add_verdicts,
    decide,
    find_known,
    list_unfamiliar,
)

CLASSES = tuple(CarClass(str(k), name) for k, name in enumerate(("Волна", "Heron", "Clover")))
SOME = Metric("share", 0.9, 0.8, 1.0, 50)
NO_FLAWS = object()


def make(logits, familiarity=None, status=None, flaws=NO_FLAWS):
    logits = np.asarray(logits, np.float32).reshape(-1, 3)
    ids = tuple(f"{n}.jpg" for n in range(len(logits)))
    scores = None
    if familiarity is not None:
        scores = np.repeat(np.asarray(familiarity, np.float32)[:, None], len(FAMILIARITIES), axis=1)
    flaws = ("",) * len(ids) if flaws is NO_FLAWS else flaws
    return Predictions(ids, logits, None, status or (OK,) * len(ids), CLASSES, flaws, scores)


def draw(num_photos, centre=0.0, seed=0):
    """Answers that are mostly right, and familiarities around a centre."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(3, size=num_photos)
    logits = rng.normal(size=(num_photos, 3))
    logits[np.arange(num_photos), targets] += 4
    return make(logits, rng.normal(centre, 1, num_photos)), targets


def gate(refuses, threshold, method="mahalanobis"):
    return Gate(refuses, method, threshold, SOME)


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(
    lambda values: np.array(values, np.float64)
)


@pytest.mark.parametrize("refused", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("num_photos", [9, 60, 130])
def test_new_known_photos_are_refused_as_seldom_as_promised(refused, num_photos):
    rng = np.random.default_rng(0)
    shares = [
        (rng.normal(size=500) < choose_threshold(rng.normal(size=num_photos), refused)).mean()
        for _ in range(600)
    ]
    promised = max(refused, 1 / (num_photos + 1))
    assert np.mean(shares) <= promised + 4 * np.std(shares) / 600**0.5
    assert np.mean(shares) >= promised - 1 / (num_photos + 1) - 4 * np.std(shares) / 600**0.5


def test_the_photo_that_sets_a_threshold_passes_it_on_any_machine():
    """Its own score comes out otherwise by some bits of float32, in another batch."""
    rng = np.random.default_rng(0)
    for scores in (rng.normal(size=9), 1e3 * rng.normal(size=200) - 700, np.full(5, 0.3)):
        for refused in (0.01, 0.05, 0.3):
            threshold = choose_threshold(scores, refused)
            passing = scores[scores >= threshold]
            shaken = passing * (1 - np.sign(passing) * 1e-6) if len(set(scores)) > 1 else passing
            assert (shaken >= threshold).all()
            assert len(passing) >= (1 - refused) * len(scores)
            assert np.sum(scores < threshold) == np.sum(scores < passing.min())


@pytest.mark.parametrize("wrong", [0.02, 0.05, 0.3])
def test_new_strangers_pass_as_seldom_as_promised(wrong):
    rng = np.random.default_rng(0)
    shares = [
        (rng.normal(size=500) >= choose_strict_threshold(rng.normal(size=80), wrong)).mean()
        for _ in range(600)
    ]
    assert np.mean(shares) <= wrong + 4 * np.std(shares) / 600**0.5


@given(scores, st.floats(0.05, 0.9))
def test_a_strict_threshold_holds_for_the_strangers_themselves(strangers, wrong):
    try:
        threshold = choose_strict_threshold(strangers, wrong)
    except InputError:
        assert len(strangers) < 1 / wrong - 1
    else:
        assert (strangers >= threshold).mean() <= wrong


def test_too_few_strangers_for_a_rate_say_how_many_are_needed():
    with pytest.raises(InputError, match=r"at most 0\.05 of them are accepted: 19 are needed"):
        choose_strict_threshold(np.arange(18.0), 0.05)
    assert choose_strict_threshold(np.arange(19.0), 0.05) > 18


def test_separation_counts_strangers_above_the_threshold_of_known_photos():
    known = np.arange(100.0)
    found = measure_separation("cats", "energy", known, np.array([-1, 3, 4, 50, np.nan]))
    # The fifth smallest of a hundred: floor(0.05 * 101) = 5.
    assert found.accepted.value == 0.5
    assert (found.accepted.count, found.num_known, found.answered) == (4, 100, 0.95)
    with pytest.raises(InputError, match="100 known photos with 0 of cats"):
        measure_separation("cats", "energy", known, np.array([np.nan]))


def strangers(group="not a car", centre=-6.0, num_photos=40, given=True):
    return Strangers(f"{group} set", group, given, draw(num_photos, centre, seed=7)[0])


def test_every_method_with_scores_is_compared_on_every_set():
    known, _ = draw(80)
    rows = compare_methods(known, [strangers(), strangers("unknown")], 1.0)
    assert len(rows) == 2 * len(METHODS)
    without = replace(strangers(), predictions=replace(draw(9)[0], familiarity=None))
    assert [row.method for row in compare_methods(known, [without], 1.0)] == ["max probability"]


def test_by_default_95_of_100_known_photos_pass_both_gates():
    passed = []
    for seed in range(200):
        refusal = learn_refusal(*draw(99, seed=seed), 1.0, [strangers(given=False)])
        verdicts = decide(draw(200, seed=1000 + seed)[0], refusal, 1.0)
        passed.append(np.mean([verdict.kind in ("model", "unsure") for verdict in verdicts]))
    assert np.mean(passed) >= 0.95 - 4 * np.std(passed) / 200**0.5


def test_gates_say_what_they_are_worth():
    refusal = learn_refusal(*draw(200), 1.0, [strangers(), strangers("unknown", centre=-1.0)])
    not_car, unknown = refusal.gates
    assert (not_car.refuses, unknown.refuses) == ("not a car", "unknown")
    assert 0.975 <= unknown.known.value <= 1
    assert 0.975 <= not_car.known.value <= 1
    assert not_car.strangers.value == 0
    assert 0 < unknown.strangers.value < 1
    assert unknown.strangers.count == 40
    assert refusal.num_photos == 200


def test_a_rate_of_wrong_acceptances_moves_the_threshold():
    ours = [strangers(centre=-1.0), strangers("unknown", centre=-1.0)]
    for wrong in (0.05, 0.25):
        refusal = learn_refusal(*draw(200), 1.0, ours, wrong=wrong)
        for own in refusal.gates:
            assert own.strangers.value <= wrong
    # Without strangers of a group the rate cannot be known: the share answered decides.
    one = learn_refusal(*draw(200), 1.0, ours[:1], wrong=0.05)
    assert one.gates[1] == learn_refusal(*draw(200), 1.0, ours[:1]).gates[1]


@pytest.mark.parametrize("num_strangers", [30, 60])
def test_new_strangers_pass_as_seldom_as_promised_where_others_chose_the_method(num_strangers):
    """By the same strangers, who chose and set, 0.056 to 0.063 passed."""
    shares = []
    for seed in range(300):
        rng = np.random.default_rng(seed)

        def draw_all(num_photos, centre, rng=rng):
            own, targets = draw(num_photos, seed=int(rng.integers(2**31)))
            own.familiarity[:] = rng.normal(centre, 1, (num_photos, len(FAMILIARITIES)))
            return own, targets

        theirs = replace(strangers(), predictions=draw_all(num_strangers, -0.3)[0])
        own = learn_refusal(*draw_all(130, 0.0), 1.0, [theirs], wrong=0.05).gates[0]
        new = draw_all(400, -0.3)[0]
        if own.method == "max probability":
            scores = probabilities(new, 1.0).max(axis=1)
        else:
            scores = new.familiarity[:, FAMILIARITIES.index(own.method)]
        shares.append((scores >= own.threshold).mean())
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / 300**0.5


def test_strangers_too_few_for_both_set_the_threshold_of_the_default_method():
    known, targets = draw(200)
    known.familiarity[:, 1:] = np.random.default_rng(0).normal(size=(200, len(FAMILIARITIES) - 1))
    others = strangers(centre=-3.0)  # forty, of whom only energy tells any
    others.predictions.familiarity[:, 1:] = np.random.default_rng(1).normal(
        size=(40, len(FAMILIARITIES) - 1)
    )
    few = learn_refusal(known, targets, 1.0, [others], wrong=0.03).gates[0]
    assert few.method == "neighbours"
    enough = learn_refusal(known, targets, 1.0, [others], wrong=0.05).gates[0]
    assert enough.method == "energy"


def test_many_given_strangers_choose_the_method_and_few_or_made_ones_do_not():
    known, targets = draw(200)
    known.familiarity[:, 1:] = np.random.default_rng(0).normal(size=(200, len(FAMILIARITIES) - 1))
    others = strangers(centre=-3.0)
    others.predictions.familiarity[:, 1:] = np.random.default_rng(1).normal(
        size=(40, len(FAMILIARITIES) - 1)
    )
    assert learn_refusal(known, targets, 1.0, [others]).gates[0].method == "energy"
    made = replace(others, is_given=False)
    default = learn_refusal(known, targets, 1.0, [made]).gates[0].method
    assert default == learn_refusal(known, targets, 1.0).gates[0].method
    assert default in FAMILIARITIES


def test_without_familiarity_the_gates_use_what_there_is():
    known, targets = draw(50)
    refusal = learn_refusal(replace(known, familiarity=None), targets, 1.0)
    assert {own.method for own in refusal.gates} == {"max probability"}
    nothing = make([[np.nan] * 3], status=("torn",))
    assert learn_refusal(nothing, np.array([0]), 1.0).gates == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"answered": 1.0}, "share of known photos answered must be between"),
        ({"coverage": 95}, "coverage must be between"),
        ({"wrong": 0.0}, "rate of wrong acceptances must be between"),
        ({"cost": -1}, "cost of a wrong answer"),
        ({"gain": 0}, "gain of a right one"),
        ({"cost": float("inf")}, "cost of a wrong answer"),
    ],
)
def test_numbers_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        learn_refusal(*draw(50), 1.0, [strangers()], **values)


def test_a_model_is_named_if_the_gain_is_worth_the_risk():
    found = make([[np.log(0.8), np.log(0.15), np.log(0.05)]])
    for cost, kind in ((1.0, "model"), (3.9, "model"), (4.1, "unsure")):
        sure = learn_refusal(*draw(50), 1.0, cost=cost, gain=1.0).sure
        verdict = decide(found, Refusal(candidate=0.2, sure=sure), 1.0)[0]
        assert verdict.kind == kind
    assert verdict.named == CLASSES[:2]
    assert verdict.sentence == "Probably Волна (80 %), perhaps Heron (15 %)."


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ((0.921, 0.079, 0.0), "Probably Волна (92 %), perhaps Heron (8 %)."),
        ((0.57, 0.13, 0.3), "Not sure: perhaps Волна (57 %) or Clover (30 %)."),
        ((0.57, 0.13, 0.12), "Probably Волна (57 %), perhaps Heron (13 %)."),
        ((0.74, 0.26, 0.0), "Волна (74 %) or Heron (26 %): it is hard to tell which."),
        ((0.75, 0.24, 0.01), "Probably Волна (75 %), perhaps Heron (24 %)."),
        ((0.46, 0.45, 0.09), "Волна (46 %) or Heron (45 %): it is hard to tell which."),
        ((0.45, 0.43, 0.12), "Not sure: perhaps Волна (45 %) or Heron (43 %)."),
        ((0.36, 0.1, 0.1), "Not sure: perhaps Волна (36 %) or Heron (10 %)."),
        ((0.998, 0.002, 0.0), "Probably Волна (>99 %), perhaps Heron (<1 %)."),
    ],
)
def test_one_rule_says_how_far_two_are_apart_and_both_are_candidates(shares, sentence):
    """What is missing of a whole is spread over classes that are not named."""
    rest = max(0.0, 1 - sum(shares))
    classes = (*CLASSES, *(CarClass(f"x{k}", f"X{k}") for k in range(10)))
    chances = np.array([*shares, *[rest / 10] * 10]) + 1e-9
    found = Predictions(("a",), np.log(chances)[None].astype(np.float32), None, (OK,), classes)
    for candidate in (0.0, 0.2, 0.6, 1.0):
        (verdict,) = decide(found, Refusal(candidate=candidate, sure=0.9999), 1.0)
        assert (verdict.kind, verdict.sentence) == ("unsure", sentence)
        assert verdict.candidates[:2] == verdict.named
        own = [car for car, chance in zip(classes, chances, strict=True) if chance >= candidate]
        assert len(verdict.candidates) == max(2, len(own))
        (row,) = add_verdicts(to_rows(found), (verdict,))
        assert all(car.name in row["candidates"] for car in verdict.named)


def test_each_kind_of_verdict_in_its_turn():
    refusal = Refusal(
        gates=(gate("not a car", -10.0), gate("unknown", -5.0)),
        candidate=0.3,
        tolerated=("too dark",),
    )
    found = make(
        [[5, 0, 0], [1, 1, 0], [5, 0, 0], [5, 0, 0], [5, 0, 0], [np.nan] * 3, [5, 0, 0]],
        familiarity=[0, 0, -7, -20, -20, np.nan, 0],
        status=(OK,) * 5 + ("truncated JPEG", OK),
        flaws=("", "", "", "", "too small: 20 x 10 pixels", "", "too dark: very"),
    )
    verdicts = decide(found, refusal, 1.0)
    assert [verdict.kind for verdict in verdicts] == [*KINDS, "model"]
    model, unsure, unknown, not_car, poor, none, _ = verdicts
    assert model.sentence == "It is Волна, with a probability of 0.99."
    assert (model.named, model.candidates) == (CLASSES[:1], CLASSES[:1])
    assert unsure.candidates == CLASSES[:2]
    assert "the least unlike is Волна" in unknown.sentence
    assert "no car" in not_car.sentence
    assert poor.sentence == "The photo is too poor to tell: too small: 20 x 10 pixels."
    assert none.sentence == "There is no answer: truncated JPEG."
    for verdict in (unknown, not_car, poor, none):
        assert verdict.named == ()
        assert verdict.probability is None


def test_what_a_stranger_shows_is_looked_at_where_that_is_known():
    refusal = Refusal(gates=(gate("not a car", -10.0),), candidate=0.3, vehicle=0.1)
    found = make([[5, 0, 0]] * 7, familiarity=[-20] * 6 + [0], flaws=("",) * 5 + ("blurred", ""))
    assert list_unfamiliar(found, refusal, 1.0) == [0, 1, 2, 3, 4]
    shows = [[0.1, 0, 0, 0], [0.05, 0.3, 0, 0], [0.3, 0.6, 0, 0], [0, 0, 0, 0.5], [np.nan] * 4]
    shows = np.array([*shows, [1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    shown = replace(found, shows=shows)
    verdicts = decide(shown, refusal, 1.0)
    assert [verdict.kind for verdict in verdicts] == [
        *("unknown", "not a car", "not a car", "not a car", "not a car", "poor photo", "model")
    ]
    plain = decide(found, refusal, 1.0)[0].sentence
    told = [OTHER_CAR, plain, PARTS["wheel"], PARTS["document"], plain]
    assert [verdict.sentence for verdict in verdicts[:5]] == told
    assert verdicts[0].named == ()
    assert verdicts[0].probability is None
    # Who has no threshold does not look.
    bare = decide(shown, replace(refusal, vehicle=None), 1.0)
    assert [verdict.sentence for verdict in bare[:5]] == [plain] * 5


def test_what_only_just_passes_is_looked_at_and_is_no_car_if_it_shows_none():
    gates = (gate("not a car", -10.0), gate("unknown", -5.0))
    refusal = Refusal(gates=gates, candidate=0.3, vehicle=0.1, looked=-3.0)
    found = make(
        [[5, 0, 0]] * 7, familiarity=[0, -4, -4, -4, -7, -7, -4], flaws=("",) * 6 + ("blurred",)
    )
    assert list_unfamiliar(found, refusal, 1.0) == [1, 2, 3, 4, 5]
    shows = [[0, 0, 0, 0], [0.05, 0, 0, 0], [0.2, 0.7, 0, 0], [0.2, 0, 0, 0], [0, 0, 0, 0]]
    shown = replace(found, shows=np.array([*shows, [0.2, 0, 0, 0], [0, 0, 0, 0]], np.float32))
    verdicts = decide(shown, refusal, 1.0)
    assert [verdict.kind for verdict in verdicts] == [
        *("model", "not a car", "not a car", "model", "not a car", "unknown", "poor photo")
    ]
    assert verdicts[2].sentence == PARTS["wheel"]
    # Where nobody has looked, what passes the gates is named.
    assert [verdict.kind for verdict in decide(found, refusal, 1.0)][1:4] == ["model"] * 3
    # It is never looked at less than what the gate stops.
    strict = replace(refusal, gates=(gate("not a car", -1.0),))
    assert list_unfamiliar(found, strict, 1.0) == [1, 2, 3, 4, 5]


def test_the_least_familiar_quarter_of_known_photos_is_looked_at():
    known, targets = draw(100)
    refusal = learn_refusal(known, targets, 1.0)
    assert refusal.looked is not None
    assert len(list_unfamiliar(known, refusal, 1.0)) in (24, 25)
    assert Refusal.from_dict(asdict(refusal)) == refusal
    old = {key: value for key, value in asdict(refusal).items() if key != "looked"}
    assert Refusal.from_dict(old).looked is None


def test_a_car_that_no_gate_against_no_cars_stops_is_not_asked_about():
    refusal = Refusal(gates=(gate("unknown", -10.0),), candidate=0.3, vehicle=0.1)
    assert list_unfamiliar(make([[5, 0, 0]], familiarity=[-20]), refusal, 1.0) == []


def test_nobody_is_certain():
    verdict = decide(make([[100, 0, 0]]), Refusal(candidate=0.5), 1.0)[0]
    assert verdict.sentence == "It is Волна, with a probability of more than 0.99."


def test_a_model_without_refusal_names_every_answer():
    found = make([[0.1, 0, 0], [np.nan] * 3], status=(OK, "torn"), flaws=None)
    verdicts = decide(found, None, 1.0)
    assert [verdict.kind for verdict in verdicts] == ["model", "no answer"]
    assert verdicts[0].candidates == ()


def test_a_gate_that_was_not_measured_lets_nobody_pass():
    refusal = Refusal(gates=(gate("not a car", -10.0),), candidate=0.3)
    assert decide(make([[5, 0, 0]]), refusal, 1.0)[0].kind == "not a car"


def test_a_single_class_has_no_second():
    found = Predictions(("a",), np.ones((1, 1), np.float32), None, (OK,), CLASSES[:1])
    assert decide(found, Refusal(candidate=0.5), 1.0)[0].kind == "model"


def test_flaws_that_the_models_own_photos_have_are_tolerated():
    known, targets = draw(40)
    flaws = ("too small: 60 x 40 pixels",) * 2 + ("blurred: 0.3",) + ("",) * 37
    refusal = learn_refusal(replace(known, flaws=flaws), targets, 1.0)
    assert refusal.tolerated == ("too small",)
    assert learn_refusal(replace(known, flaws=None), targets, 1.0).tolerated == ()


def test_rows_keep_a_label_but_no_probability_for_strangers():
    refusal = Refusal(gates=(gate("not a car", -10.0),), candidate=0.001)
    found = make([[5, 0, 0], [5, 0, 0]], familiarity=[0, -20])
    named, refused = add_verdicts(to_rows(found), decide(found, refusal, 1.0))
    assert [named["verdict"], refused["verdict"]] == ["unsure", "not a car"]
    assert [named["label"], refused["label"]] == ["0", "0"]
    for kind in KINDS:
        verdict = Verdict(kind, (), None, (), "")
        row = add_verdicts(to_rows(found), (verdict, verdict))[0]
        is_blank = np.isnan([row["probability"], row["second_probability"]])
        assert is_blank.tolist() == [kind not in NAMING] * 2, kind
    assert named["candidates"] == "Волна; Heron; Clover"
    assert named["probability"] == pytest.approx(0.987, abs=1e-3)
    assert np.isnan([refused["probability"], refused["second_probability"]]).all()
    assert add_verdicts(to_rows(make([])), ()) == []


def draw_known_and_others(seed=0, num_photos=400, apart=3.0):
    known, targets = draw(num_photos, seed=seed)
    others, _ = draw(num_photos, -apart, seed=seed + 1)
    return known, targets, Strangers("other cars held out", "unknown", True, others)


def test_the_odds_of_a_known_car_are_calibrated_on_other_cars():
    known, targets, others = draw_known_and_others()
    odds = learn_refusal(known, targets, 1.0, [others]).odds
    assert odds.method == "others" or odds.method in FAMILIARITIES
    new_known, _, new_others = draw_known_and_others(seed=7)
    rule = Refusal(odds=odds)
    shares = [find_known(one, rule, 1.0) for one in (new_known, new_others.predictions)]
    everything = np.concatenate(shares)
    truth = np.repeat([1.0, 0.0], [len(one) for one in shares])
    for low in np.arange(0, 1, 0.25):
        own = (everything >= low) & (everything < low + 0.25)
        if own.sum() > 20:
            assert abs(everything[own].mean() - truth[own].mean()) < 0.15


def test_without_enough_other_cars_no_odds_are_made_up():
    known, targets, others = draw_known_and_others()
    few = replace(others, predictions=take_rows(others.predictions, range(20)))
    made = replace(others, is_given=False)
    negatives = replace(others, group="not a car")
    alike = replace(others, predictions=draw(400, 2.0, seed=3)[0])
    for strangers in ([], [few], [made], [negatives], [alike]):
        assert learn_refusal(known, targets, 1.0, strangers).odds is None


def test_a_car_that_may_be_another_one_is_not_named_alone():
    """The same answer, of a photo that is surely known, may be another car, and hardly is known."""
    answers = make([[6.0, 0, 0]] * 3, [4.0, 0.0, -1.5])
    refusal = Refusal(odds=KnownOdds("others", 2.0, 0.0), sure=0.6, candidate=0.1)
    named, unsure, other = decide(answers, refusal, 1.0)
    assert (named.kind, [car.name for car in named.named]) == ("model", ["Волна"])
    assert (unsure.kind, [car.name for car in unsure.named]) == ("unsure", ["Волна"])
    told = "Волна (50 %) or a car that was not learnt (50 %): it is hard to tell which."
    assert unsure.sentence == told
    assert (other.kind, other.named) == ("unsure", unsure.named)
    assert other.sentence.startswith("Probably a car that was not learnt (9")
    rows = add_verdicts(to_rows(answers), (named, unsure, other))
    chances = [row["probability"] for row in rows]
    assert chances[0] > 0.98 > chances[1] > 0.45 > chances[2]
    assert chances[1] == pytest.approx(unsure.probability)
    # A submission has the class all the same, and never another car.
    assert {row["name"] for row in rows} == {"Волна"}


def test_of_two_classes_and_another_car_the_likeliest_two_are_named():
    answers = make([[2.0, 1.8, -3.0]] * 2, [4.0, 0.0])
    refusal = Refusal(odds=KnownOdds("others", 2.0, 0.0), sure=0.6, candidate=0.1)
    pair, other = decide(answers, refusal, 1.0)
    assert [car.name for car in pair.named] == ["Волна", "Heron"]
    assert [car.name for car in other.named] == ["Волна"]


@given(st.floats(-50, 50), st.floats(-5, 5), st.floats(-5, 5))
def test_odds_are_shares_whatever_the_score(score, slope, offset):
    rule = Refusal(odds=KnownOdds("others", slope, offset))
    (share,) = find_known(make([[1.0, 0, 0]], [score]), rule, 1.0)
    assert 0 <= share <= 1


def test_odds_survive_a_card():
    rule = Refusal(odds=KnownOdds("others", 2.0, -1.0))
    assert Refusal.from_dict(asdict(rule)) == rule
    without = asdict(rule)
    del without["odds"]  # a card of before
    assert Refusal.from_dict(without).odds is None
    with pytest.raises(ValueError, match="slope"):
        Refusal.from_dict({**asdict(rule), "odds": {**without, "method": "others", "slope": "x"}})
