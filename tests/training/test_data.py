"""What trainings know of labelled photos."""

import pytest

from lotlens.errors import InputError
from lotlens.records import CarClass, Catalog, Photo
from lotlens.training.data import find_commonest_label

CLASSES = tuple(CarClass(str(label), f"Car {label}") for label in (7, 3, 5))


def test_commonest_label():
    labels = ["5", "3", None, "3", "5", None, None]
    photos = tuple(Photo(str(n), None, label) for n, label in enumerate(labels))
    assert find_commonest_label(Catalog(photos, CLASSES)) == "3"
    with pytest.raises(InputError, match="no photo has a label"):
        find_commonest_label(Catalog(photos[-1:], CLASSES))
