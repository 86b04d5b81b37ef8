"""What validation's answers say of a model, for its card."""

from dataclasses import replace

import numpy as np

from lotlens.answering.fusing import DEPENDENCE
from lotlens.judge.judged import calibrate
from lotlens.records import Catalog, ImageSpec, ModelCard, Photo
from tests.answering.test_fusing import CLASSES, draw_adverts

CARD = ModelCard(1, "0.1.0", CLASSES, ImageSpec(48, 64), "tiny", {}, "0" * 64)


def test_the_dependence_is_fitted_where_adverts_have_several_photos():
    found, groups, targets = draw_adverts(np.random.default_rng(3), 800, 3, 0.5)
    labels = [CLASSES[target].label for target in targets]
    adverts = [
        Photo(id_, None, label, group)
        for id_, label, group in zip(found.ids, labels, groups, strict=True)
    ]
    card = calibrate(CARD, found, Catalog(tuple(adverts), CLASSES))
    assert 0.3 < card.dependence < 0.7
    assert ModelCard.from_dict(card.to_dict() | {"refusal": None}).dependence == card.dependence
    alone = Catalog(tuple(replace(photo, listing=None) for photo in adverts), CLASSES)
    assert calibrate(card, found, alone).dependence == DEPENDENCE == CARD.dependence
