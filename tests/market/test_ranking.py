import math
import re
from dataclasses import replace
from typing import get_args

import pytest

from lotlens.market.claims import Claim
from lotlens.market.copies import Shared
from lotlens.market.listings import Listing
from lotlens.market.prices import Fair
from lotlens.market.ranking import Reason, Terms, rank_offers, say_claim, say_method, say_offer
from lotlens.records import CarClass

GOLF, POLO = CarClass("0", "VW Golf"), CarClass("1", "VW Polo")
ROW = Listing(
    1, "1", title="VW Golf", make="VW", model="Golf", price=800_000, year=2015, mileage=90_000,
    is_damaged=False,
)  # fmt: skip
FAIR = Fair(1_000_000, 900_000, 1_100_000, 850_000, 1_200_000, "model", 40)
SURE = Claim("confirmed", "", GOLF, GOLF, 0.98, 0.98)
ROW_DAMAGE = "Битый"
PLAIN = Terms(haggle=0.0, costs=0.0)


def judge(row=ROW, fair=FAIR, claim=SURE, shared=None, terms=PLAIN):
    (offer,) = rank_offers([row], [fair], [claim], [shared], terms)
    return offer


def test_the_gain_is_the_formula_of_the_docs():
    offer = judge(terms=Terms(haggle=0.1, costs=20_000))
    assert offer.gain == pytest.approx(1_000_000 * 0.9 - 800_000 - 20_000)
    assert offer.sure_gain == pytest.approx(900_000 * 0.9 - 800_000 - 20_000)
    assert not offer.is_worth_a_call
    sure = judge()
    assert sure.sure_gain == pytest.approx(0.98 * 100_000)
    assert sure.is_worth_a_call
    assert judge(claim=None).sure_gain == pytest.approx(100_000)
    with pytest.raises(ValueError, match="haggle"):
        Terms(haggle=1.0)
    with pytest.raises(ValueError, match="costs"):
        Terms(costs=math.nan)


def test_a_strangers_words_in_a_sentence_are_short_and_in_one_line():
    told = say_offer(judge(replace(ROW, is_damaged=True, condition="bad\n\x1b" * 500)), "RUB", "en")
    assert len(told) < 150
    assert "\n" not in told
    assert "\x1b" not in told


def test_noise_does_not_look_like_a_bargain():
    noisy = Fair(1_200_000, 700_000, 1_700_000, 600_000, 2_000_000, "model", 40)
    rows = [replace(ROW, row=1, id="noisy"), replace(ROW, row=2, id="plain")]
    ranked = rank_offers(rows, [noisy, FAIR], [SURE, SURE], [None, None], PLAIN)
    assert [(offer.row.id, offer.rank) for offer in ranked] == [("plain", 1), ("noisy", 2)]


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        ("no price", {"row": replace(ROW, price=None)}),
        ("no fair price", {"fair": Fair()}),
        ("too cheap", {"row": replace(ROW, price=590_000)}),
        ("few like it", {"fair": replace(FAIR, num_like=4)}),
        ("wide", {"fair": replace(FAIR, low=400_000)}),
        ("no mileage", {"row": replace(ROW, mileage=None)}),
        ("damaged", {"row": replace(ROW, is_damaged=True, condition=ROW_DAMAGE)}),
        ("contradicted", {"claim": Claim("contradicted", "", GOLF, POLO, 0.97, 0.01)}),
        ("stolen", {"shared": Shared("stolen", (0,))}),
        ("stock", {"shared": Shared("stock", (0,))}),
        ("no usable photo", {"claim": Claim("open", "no usable photo", GOLF)}),
    ],
)
def test_what_is_looked_at_by_hand_says_why_in_both_languages(reason, given):
    offer = judge(**given)
    assert offer.reasons == (reason,)
    assert offer.rank is None
    assert not offer.is_worth_a_call
    english = say_offer(offer, "RUB", "en", ["advert 7"])
    russian = say_offer(offer, "RUB", "ru", ["№ 7"])
    assert re.search("[A-Za-z]{4}", english)
    assert not re.search("[а-я]", english.replace(ROW_DAMAGE, ""))
    # Names of cars apart, a Russian sentence has no Latin word.
    assert not re.search("[A-Za-z]{2}", re.sub("VW (Golf|Polo)", "", russian))
    for said in (english, russian):
        assert "nan" not in said
        assert "{" not in said


def test_every_reason_is_tested():
    marks = test_what_is_looked_at_by_hand_says_why_in_both_languages.pytestmark
    assert {reason for reason, _ in marks[0].args[1]} == set(get_args(Reason))


def test_a_repost_is_ordered_with_the_others():
    assert judge(shared=Shared("repost", (0,))).rank == 1


def test_sentences_have_the_verdict_and_the_numbers():
    offer = judge()
    said = say_offer(offer, "RUB", "en")
    assert said == (
        "20\u202f% below the usual price (1,000,000\u00a0₽). Worth a call: about"
        " 200,000\u00a0₽ to gain, 98,000\u00a0₽ to be on the safe side."
    )
    said = say_offer(offer, "RUB", "ru")
    assert said.startswith("Дешевле обычной цены (1\u00a0000\u00a0000\u00a0₽) на 20\u202f%.")
    assert "Стоит позвонить" in said
    perhaps = judge(row=replace(ROW, price=950_000))
    assert "differ as much" in say_offer(perhaps, "RUB", "en")
    dear = judge(row=replace(ROW, price=1_300_000))
    assert say_offer(dear, "RUB", "en").endswith("Nothing to gain.")
    assert say_offer(dear, "RUB", "ru").endswith("Выгоды нет.")


def test_claims_and_methods_in_words():
    wrong = Claim("contradicted", "", GOLF, POLO, 0.97, 0.01)
    assert say_claim(wrong, "en") == "The advert says VW Golf, the photos say VW Polo, 97\u202f%."
    assert say_claim(wrong, "ru") == "Указано VW Golf, а на фото VW Polo, 97\u202f%."
    claims = [
        None,
        SURE,
        Claim("open", "not learnt", None, GOLF, 0.9),
        Claim("open", "not sure", GOLF, POLO, 0.6, 0.4),
        Claim("open", "no photos"),
    ]
    said = {say_claim(claim, code) for claim in claims for code in ("en", "ru")}
    assert len(said) == 10
    for method in ("model", "make", "analogues", "line", "median", "none"):
        assert "40" in say_method(replace(FAIR, method=method), "ru")
