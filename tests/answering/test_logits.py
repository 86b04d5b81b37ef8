"""As scipy.special has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import special

from lotlens.answering.logits import log_softmax, log_sum_exp, softmax

numbers = st.floats(-1e4, 1e4, width=32)


@given(arrays(np.float32, array_shapes(min_dims=1, max_dims=3, max_side=5), elements=numbers))
def test_they_agree_with_scipy(logits):
    wide = logits.astype(np.float64)
    np.testing.assert_allclose(log_sum_exp(logits), special.logsumexp(wide, axis=-1), atol=1e-9)
    np.testing.assert_allclose(log_softmax(logits), special.log_softmax(wide, axis=-1), atol=1e-9)
    np.testing.assert_allclose(softmax(logits), special.softmax(wide, axis=-1), atol=1e-12)
    assert log_softmax(logits).dtype == np.float64


@pytest.mark.filterwarnings("ignore:invalid value")
def test_rows_of_nan_stay_so_and_empty_ones_are_allowed():
    rows = np.array([[1.0, 2.0], [np.nan, np.nan]])
    assert np.isnan(softmax(rows)).all(axis=1).tolist() == [False, True]
    assert softmax(np.zeros((0, 3))).shape == (0, 3)
    assert log_sum_exp(np.array([[-np.inf, -np.inf]])).tolist() == [-np.inf]
