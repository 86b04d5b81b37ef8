"""The range test finds where the loss falls, keeps proportions, and leaves no trace."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.schema import Finetune
from lotlens.records import ImageSpec
from lotlens.vision.batches import decode_photos
from lotlens.vision.classifier import build_classifier
from lotlens.vision.rate_finder import find_rate, plot_rates, read_curve, sweep_rates

# isort: split
# After lotlens.vision, which mends the torchvision that this imports.
import lightning.pytorch as pl

SPEC = ImageSpec(48, 64)
RATES = np.geomspace(1e-6, 1.0, 100)


class Bowl(pl.LightningModule):
    """A quadratic in two groups of parameters: steps below 2 / curvature go down, others up."""

    def __init__(self, curvature=100.0):
        super().__init__()
        self.top = nn.Parameter(torch.ones(2))
        self.low = nn.Parameter(torch.ones(2))
        self.curvature = curvature
        self.seen = []

    def training_step(self, batch):
        groups = self.trainer.optimizers[0].param_groups
        self.seen.append([group["lr"] for group in groups])
        offset = batch.mean() * 0.001
        return self.curvature / 2 * ((self.top - offset).square() + self.low.square()).sum()

    def configure_optimizers(self):
        groups = [{"params": [self.low], "lr": 0.02}, {"params": [self.top], "lr": 0.1}]
        optimiser = torch.optim.SGD(groups)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5**step)
        return [optimiser], [{"scheduler": schedule, "interval": "step"}]


def sweep(module, num_batches=60, **options):
    batches = torch.randn(num_batches, 4, generator=torch.Generator().manual_seed(0))
    values = {"num_steps": 60, "lowest": 1e-5, "highest": 1.0} | options
    return sweep_rates(module, DataLoader(batches, batch_size=None), **values)


def test_the_groups_keep_their_proportion_while_the_rate_rises():
    module = Bowl()
    sweep(module, highest=0.01)
    seen = np.array(module.seen)
    np.testing.assert_allclose(seen[:, 1], np.geomspace(1e-5, 0.01, 60))
    np.testing.assert_allclose(seen[:, 0], seen[:, 1] * 0.2)


def test_it_suggests_a_rate_that_goes_down_and_stops_when_the_loss_goes_up():
    curve = sweep(Bowl())
    assert len(curve.losses) == len(curve.rates) < 60
    assert curve.suggestion is not None
    assert 1e-4 < curve.suggestion < 2 / 100
    assert "diverged" in curve.note
    assert "did not" not in curve.note


def test_infinite_losses_end_it_and_are_left_out():
    curve = sweep(Bowl(curvature=1e30), lowest=1e-3)
    assert curve.suggestion is None
    assert "begin with a lower rate" in curve.note
    assert all(math.isfinite(loss) for loss in curve.losses)


def test_accumulated_batches_are_one_step():
    seen = []
    module = Bowl()
    curve = sweep(
        module,
        num_batches=90,
        num_steps=30,
        highest=1e-3,
        accumulate=3,
        gradient_clip=1.0,
        progress=lambda *step: seen.append(step),
    )
    assert seen == [(step, 30) for step in range(1, 31)]
    assert len(curve.rates) == 30
    assert len(module.seen) == 90
    assert module.seen[0] == module.seen[2] != module.seen[3]
    # The mean over a step's batches, whatever Lightning divides by.
    assert curve.losses[0] == pytest.approx(200.0, rel=0.01)


def test_ctrl_c_is_not_swallowed():
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(Bowl(), progress=interrupt)


@pytest.mark.parametrize(
    "options",
    [{"num_steps": 9}, {"lowest": 0.0}, {"lowest": 1.0}, {"highest": math.inf}],
)
def test_impossible_ramps_are_refused(options):
    with pytest.raises(InputError):
        sweep(Bowl(), **options)


def test_the_suggestion_is_where_the_loss_falls():
    losses = 5 - 4 / (1 + (1e-3 / RATES) ** 2)
    curve = read_curve(RATES.tolist(), losses.tolist())
    # The average lags behind by nine steps of 15 percent.
    assert 1e-3 <= curve.suggestion <= 1e-3 * 1.15**12
    assert curve.note == "the loss is least at 1 and did not diverge up to 1"


@pytest.mark.parametrize("seed", range(5))
def test_chance_alone_suggests_nothing(seed):
    rng = np.random.default_rng(seed)
    flat = 3 + 0.2 * rng.standard_normal(100)
    rising = flat + np.linspace(0, 2, 100)
    for losses in (flat, rising, np.full(100, 3.0)):
        curve = read_curve(RATES.tolist(), losses.tolist())
        assert curve.suggestion is None
        assert "never falls" in curve.note


@given(
    st.lists(
        st.one_of(st.floats(0, 1e6), st.sampled_from([math.inf, math.nan])),
        min_size=1,
        max_size=100,
    )
)
def test_any_losses_give_a_curve(losses):
    curve = read_curve(RATES.tolist(), losses)
    assert len(curve.rates) == len(curve.losses) <= len(losses)
    assert all(math.isfinite(loss) for loss in curve.losses)
    assert curve.suggestion is None or curve.suggestion in curve.rates
    assert curve.note


def test_smoothing_starts_without_bias():
    curve = read_curve(RATES.tolist(), [2.0] * 100)
    assert curve.losses == pytest.approx([2.0] * 100)


def test_a_real_classifier_stays_as_it_is(tiny_backbone, small_lot, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    catalog = open_lot(small_lot).train
    photos = decode_photos(catalog.select(catalog.ids[::2]), SPEC)
    stage = Finetune.model_validate(
        {
            "kind": "finetune",
            "batch_size": 6,
            "accumulate": 4,
            "sizes": [{"height": 48, "width": 64, "epochs": 1}],
            "unfreeze": 0.5,
            "batch_norm": "frozen",
        }
    )
    classifier = build_classifier(tiny_backbone, 3).eval()
    before = copy.deepcopy(classifier.state_dict())
    generator = torch.random.get_rng_state()
    curves = [find_rate(classifier, stage, photos, seed=1, num_steps=10) for _ in range(2)]
    assert curves[0] == curves[1]
    assert curves[0].losses[0] == pytest.approx(math.log(3), rel=0.1)
    for key, value in classifier.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not any(module.training for module in classifier.modules())
    assert all(p.requires_grad and p.grad is None for p in classifier.parameters())
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert list(tmp_path.iterdir()) == []


def test_a_curve_is_drawn_with_and_without_a_suggestion(tmp_path):
    falling = (5 - 4 / (1 + (1e-3 / RATES) ** 2)).tolist()
    for name, losses in {"falling.svg": falling, "flat.svg": [1.0] * 100}.items():
        plot_rates(tmp_path / name, read_curve(RATES.tolist(), losses))
    assert (tmp_path / "falling.svg").read_bytes() != (tmp_path / "flat.svg").read_bytes()
    with pytest.raises(InputError, match="end the name"):
        plot_rates(tmp_path / "curve", read_curve(RATES.tolist(), falling))
