"""Laws of every schedule: finite, as drawn in the papers, and the same after a stop."""

import io
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from torch.utils.data import DataLoader

from lotlens.errors import InputError, OutputError
from lotlens.recipes.schema import Schedule
from lotlens.vision.schedules import (
    ScheduledStage,
    build_schedule,
    cosine_with_warmup,
    plot_schedules,
    rate_factor,
)

# isort: split
# After lotlens.vision, which mends the torchvision that this imports.
import lightning.pytorch as pl

FUNCTIONS = {"halve": lambda epoch: 0.5**epoch, "table": lambda epoch: [1.0, 0.3][int(epoch) % 2]}
WARMING = ("constant", "cosine", "exponential", "step", "plateau")
NAMES = (*WARMING, "one-cycle", "cyclic", "function")


def make(name, **values):
    needed = {"step": {"every": 1}, "function": {"function": "halve"}}.get(name, {})
    return TypeAdapter(Schedule).validate_python({"name": name} | needed | values)


@st.composite
def schedules(draw):
    name = draw(st.sampled_from(NAMES))
    share = st.floats(0, 0.99)
    inner = st.floats(0.01, 0.99)
    values = {"warmup": draw(share)} if name in WARMING else {}
    if name in ("exponential", "step", "plateau"):
        values["factor"] = draw(inner)
    if name == "step":
        values["every"] = draw(st.integers(1, 3))
    if name == "one-cycle":
        values["peak"] = draw(inner)
    if name == "cyclic":
        values |= {"epochs": draw(st.integers(1, 4)), "low": draw(share)}
    if name == "plateau":
        values["patience"] = draw(st.integers(0, 2))
    if name == "function":
        values["function"] = draw(st.sampled_from(sorted(FUNCTIONS)))
    return make(name, **values)


def factors(schedule, num_steps, steps_per_epoch=10, **options):
    return [
        rate_factor(schedule, s, num_steps=num_steps, steps_per_epoch=steps_per_epoch, **options)
        for s in range(num_steps)
    ]


def make_optimiser():
    groups = [
        {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.1},
        {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.004},
    ]
    return torch.optim.SGD(groups)


class Run:
    """What Lightning does with the configurations: steps, then epochs, then the monitor."""

    def __init__(self, schedule, num_steps, steps_per_epoch, **options):
        self.steps_per_epoch = steps_per_epoch
        self.optimiser = make_optimiser()
        self.configurations = build_schedule(
            self.optimiser,
            schedule,
            num_steps=num_steps,
            steps_per_epoch=steps_per_epoch,
            functions=FUNCTIONS,
            **options,
        )

    def advance(self, steps, losses=()):
        """Rates of both groups at each of the steps."""
        rates = []
        for step in steps:
            rates.append([group["lr"] for group in self.optimiser.param_groups])
            self.optimiser.step()
            epoch, is_over = divmod(step + 1, self.steps_per_epoch)
            for configuration in self.configurations:
                if configuration["interval"] == "step":
                    configuration["scheduler"].step()
                elif not is_over:
                    configuration["scheduler"].step(losses[epoch - 1])
        return rates

    def state(self):
        parts = [self.optimiser, *(c["scheduler"] for c in self.configurations)]
        buffer = io.BytesIO()
        torch.save([part.state_dict() for part in parts], buffer)
        return buffer.getvalue()

    def restore(self, state):
        parts = [self.optimiser, *(c["scheduler"] for c in self.configurations)]
        saved = torch.load(io.BytesIO(state), weights_only=True)
        for part, values in zip(parts, saved, strict=True):
            part.load_state_dict(values)


@given(schedules(), st.integers(1, 60), st.integers(1, 12))
@example(make("one-cycle", peak=0.01), 1, 1)
@example(make("one-cycle", peak=0.5), 2, 1)
@example(make("one-cycle", peak=0.99), 3, 1)
def test_every_factor_is_finite_and_from_0_to_1(schedule, num_steps, steps_per_epoch):
    for step in range(num_steps + 2):
        factor = rate_factor(
            schedule,
            step,
            num_steps=num_steps,
            steps_per_epoch=steps_per_epoch,
            functions=FUNCTIONS,
        )
        assert math.isfinite(factor)
        assert 0 <= factor <= 1 + 1e-12


@given(schedules(), st.integers(1, 40), st.integers(1, 12))
def test_the_schedulers_follow_the_function_and_keep_the_groups_proportions(
    schedule, num_steps, steps_per_epoch
):
    run = Run(schedule, num_steps, steps_per_epoch)
    improving = [1.0 - 0.01 * epoch for epoch in range(num_steps)]
    expected = factors(schedule, num_steps, steps_per_epoch, functions=FUNCTIONS)
    for (top, low), factor in zip(run.advance(range(num_steps), improving), expected, strict=True):
        assert top == pytest.approx(0.1 * factor, rel=1e-9, abs=1e-15)
        assert low == pytest.approx(0.004 * factor, rel=1e-9, abs=1e-15)


@given(schedules(), st.data())
def test_stopping_anywhere_and_going_on_gives_identical_rates(schedule, data):
    num_steps, steps_per_epoch = 18, data.draw(st.integers(1, 5))
    losses = data.draw(st.lists(st.floats(0, 2), min_size=num_steps, max_size=num_steps))
    stop = data.draw(st.integers(0, num_steps))
    whole = Run(schedule, num_steps, steps_per_epoch).advance(range(num_steps), losses)
    before = Run(schedule, num_steps, steps_per_epoch)
    first = before.advance(range(stop), losses)
    after = Run(schedule, num_steps, steps_per_epoch)
    after.restore(before.state())
    assert first + after.advance(range(stop, num_steps), losses) == whole


def test_cosine_warms_up_then_falls_to_nothing():
    rates = [cosine_with_warmup(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)
    assert cosine_with_warmup(0, 10, 0.0) == 1.0
    assert factors(make("cosine", warmup=0.1), 100) == rates[:100]


@pytest.mark.parametrize("name", WARMING)
def test_warm_ups_rise_in_a_straight_line(name):
    shape = {} if name == "cosine" else {"warmup": 0.0}
    curve = [1.0] * 8 if name == "cosine" else factors(make(name, **shape), 40)[:8]
    warm = factors(make(name, warmup=0.2), 40)[:8]
    assert warm == pytest.approx([(s + 1) / 9 * c for s, c in enumerate(curve)])


def test_exponential_falls_by_e_to_the_minus_tenth_every_epoch():
    rates = factors(make("exponential"), 50)
    assert rates == pytest.approx([math.exp(-0.1 * (step // 10)) for step in range(50)], abs=1e-12)


def test_steps_drop_after_the_right_epochs():
    rates = factors(make("step", every=2, factor=0.1), 50)
    assert rates == pytest.approx([1.0] * 20 + [0.1] * 20 + [0.01] * 10)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("num_steps", "peak"), [(40, 0.3), (37, 0.25), (10, 0.95), (100, 0.5)])
def test_one_cycle_is_torchs(num_steps, peak):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = OneCycleLR(optimiser, 1.0, num_steps, pct_start=peak, cycle_momentum=False)
    ours = factors(make("one-cycle", peak=peak), num_steps)
    assert max(ours) > 0.9
    for step, factor in enumerate(ours):
        assert factor == pytest.approx(theirs.get_last_lr()[0], abs=1e-6), step
        if step < num_steps - 1:
            theirs.step()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(2, 10), (4, 3), (1, 8)])
def test_cyclic_is_torchs(epochs, steps_per_epoch):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    half = epochs * steps_per_epoch // 2
    theirs = CyclicLR(optimiser, 0.1, 1.0, step_size_up=half, cycle_momentum=False)
    ours = factors(make("cyclic", epochs=epochs, low=0.1), 60, steps_per_epoch)
    assert ours[half] == 1.0
    assert ours[2 * half] == pytest.approx(0.1)
    for step, factor in enumerate(ours):
        assert factor == pytest.approx(theirs.get_last_lr()[0], abs=1e-6), step
        theirs.step()


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize(
    ("monitor", "values"),
    [
        ("validation_log_loss", [1.0, 0.5] + [0.45] * 8),
        ("validation_accuracy", [0.1, 0.6] + [0.65] * 8),
    ],
)
def test_a_plateau_is_cut_after_its_patience_and_not_before(patience, monitor, values):
    schedule = make("plateau", monitor=monitor, factor=0.5, patience=patience, min_delta=0.1)
    rates = [top for top, _ in Run(schedule, 20, 2).advance(range(20), values)]
    # The best look is the second; `patience` worse ones pass, the next cuts, and so on.
    cuts = [step // 2 for step in range(1, 20) if rates[step] < rates[step - 1]]
    assert cuts == list(range(2 + patience + 1, 10, patience + 1))
    assert rates[-1] == pytest.approx(0.1 * 0.5 ** len(cuts))


def test_a_cut_during_the_warm_up_lasts_and_reaches_tiny_rates():
    schedule = make("plateau", patience=0, factor=0.5, warmup=0.5)
    rates = Run(schedule, 20, 2).advance(range(20), [1.0] * 2 + [0.9 - i / 10 for i in range(8)])
    assert rates[-1] == pytest.approx([0.05, 0.002])
    tiny = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1e-8)
    [cuts] = build_schedule(tiny, make("plateau", patience=0), num_steps=9, steps_per_epoch=1)
    cuts["scheduler"].step(1.0)
    cuts["scheduler"].step(1.0)
    assert tiny.param_groups[0]["lr"] == pytest.approx(5e-9)


def test_a_plateau_names_its_monitor_and_others_go_by_the_step():
    configurations = build_schedule(
        make_optimiser(), make("plateau", warmup=0.1), num_steps=20, steps_per_epoch=2
    )
    assert [c["interval"] for c in configurations] == ["step", "epoch"]
    assert configurations[1]["monitor"] == "validation_log_loss"
    assert configurations[1]["strict"] is True
    [only] = build_schedule(make_optimiser(), make("cosine"), num_steps=20, steps_per_epoch=2)
    assert only["interval"] == "step"


def test_a_function_is_asked_in_epochs_and_never_beyond_the_last():
    asked = []

    def record(epoch):
        asked.append(epoch)
        return [1.0, 0.5, 0.25][int(epoch)]

    rates = [
        rate_factor(
            make("function", function="mine"),
            step,
            num_steps=6,
            steps_per_epoch=2,
            functions={"mine": record},
        )
        for step in range(8)
    ]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]
    assert asked == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 2.5, 2.5]


def test_an_unknown_function_is_told_with_those_there_are():
    schedule = make("function", function="mien")
    with pytest.raises(InputError, match="'mien', given are halve, table"):
        build_schedule(
            make_optimiser(), schedule, num_steps=9, steps_per_epoch=3, functions=FUNCTIONS
        )
    with pytest.raises(InputError, match="none was given; pass it as train"):
        build_schedule(make_optimiser(), schedule, num_steps=9, steps_per_epoch=3)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_functions_impossible_value_is_told_with_its_epoch(value):
    with pytest.raises(InputError, match=r"'bad' gave \S+ at epoch 1"):
        rate_factor(
            make("function", function="bad"),
            2,
            num_steps=9,
            steps_per_epoch=2,
            functions={"bad": lambda epoch: value},
        )


@pytest.mark.parametrize("name", NAMES)
def test_a_plot_is_written_and_is_the_same_every_time(tmp_path, name):
    schedule = make(name)
    paths = [tmp_path / "rates.svg", tmp_path / "again.SVG"]
    for path in paths:
        plot_schedules(path, [ScheduledStage(schedule, 0.01, 20, 5)] * 2, functions=FUNCTIONS)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"<svg" in paths[0].read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_plot_may_be_png_and_nothing_unknown(tmp_path):
    stages = [ScheduledStage(make("cosine"), lr, 20, 5) for lr in (0.01, 0.0001)]
    plot_schedules(tmp_path / "new" / "rates.png", stages)
    with Image.open(tmp_path / "new" / "rates.png") as image:
        assert image.format == "PNG"
        assert len(image.convert("L").getcolors()) > 2
    with pytest.raises(InputError, match=r"end the name in \.png or \.svg"):
        plot_schedules(tmp_path / "rates.xyz", stages)
    with pytest.raises(OutputError):
        plot_schedules(tmp_path / "new" / "rates.png" / "x.png", stages)
    assert not (tmp_path / "rates.xyz").exists()


class Still(pl.LightningModule):
    """Learns nothing, so that a plateau must cut its rate after every epoch but the first."""

    def __init__(self, schedule):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.schedule = schedule
        self.rates = []

    def training_step(self, batch):
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return (self.weight * batch).mean()

    def on_train_epoch_end(self):
        self.log("train_loss", 1.0)

    def configure_optimizers(self):
        optimiser = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimiser], build_schedule(
            optimiser, self.schedule, num_steps=12, steps_per_epoch=3
        )


@pytest.mark.filterwarnings("ignore")
def test_lightning_takes_a_plateau_with_its_warm_up():
    module = Still(make("plateau", monitor="train_loss", patience=0, factor=0.5, warmup=0.25))
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.ones(3, 2), batch_size=None))
    expected = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1] + [0.05] * 3 + [0.025] * 3
    assert module.rates == pytest.approx(expected)
