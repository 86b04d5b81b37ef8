"""Two processes train as one: the same weights, one run folder, and a stop loses nothing."""

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.schema import Finetune
from lotlens.records import ImageSpec
from lotlens.run import RunFolder
from lotlens.vision import distributed
from lotlens.vision.batches import EpochBatches, decode_photos
from lotlens.vision.classifier import build_classifier
from lotlens.vision.finetune import fine_tune
from tests.conftest import make_tiny_recipe
from tests.forks import COMMAND, fork

pytestmark = pytest.mark.usefixtures("plain_charts")

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
TORCHRUN += [
    "--rdzv-backend",
    "c10d",
    "--rdzv-endpoint",
    "127.0.0.1:0",
    "--local-addr",
    "127.0.0.1",
]
# As a share of a tensor's largest value, or of a loss. Sums in another order part what each lever
# here ends with, after 16 steps, by at most 2e-12 in float64; in float32 by 1e-4, and by a tenth
# where they turn the sign of a ReLU's input (measured).
CLOSE = 1e-9
CLOSE_IN_FLOAT32 = 1e-3

SIZES = [{"height": 32, "width": 48, "epochs": 2}, {"height": 48, "width": 64, "epochs": 2}]
HEAD = {"kind": "dense", "units": 16, "dropout": 0.3}
LEVERS = {
    "batch-norm-and-dropout": {"head": HEAD},
    "class-weights": {"loss": {"class_weights": "balanced"}},
    "mixed-photos": {"augmentation": {"mixup": 0.4, "cutmix": 1.0, "mix_share": 0.7}},
    "accumulate": {"accumulate": 2, "gradient_clip": 0.5},
    "ema-soup-best": {"ema": 0.9, "average_last": 2, "checkpoint": "validation_log_loss"},
    "frozen": {"unfreeze": 0.4, "schedule": {"name": "plateau", "patience": 0}},
    "arcface": {
        "head": {"kind": "cosine"},
        "loss": {"kind": "arcface"},
        "early_stop": {"patience": 3},
    },
}


def start(arguments, out=None, **options):
    """Two processes that run a Python file or module, on this machine's loopback."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["GLOO_SOCKET_IFNAME"] = "lo"
    return subprocess.Popen(
        [*TORCHRUN, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def fork_pair(folder, code, *arguments):
    """Two processes that run Python's code, told what torchrun tells those that it starts.

    torchrun itself, and three processes that load lotlens, take half a minute. It starts those of
    the tests that ask what a user sees of it.

    Returns:
        their exit codes, and what each has said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "none",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    pair = []
    for rank in ("0", "1"):
        own = {**shared, "RANK": rank, "LOCAL_RANK": rank}
        said_path = folder / f"said-{rank}"
        pair.append(fork(code, *arguments, said_path=said_path, environment=own))
    return [process.wait(300) for process in pair], [process.said for process in pair]


SCRIPT = """
import json, sys
import torch
from tests.vision.test_distributed import LEVERS, check_norms, list_gloo_threads, tune
from lotlens.vision import distributed
distributed.join()
assert distributed.world_size() == 2
lot, backbone, out = sys.argv[1:]
torch.set_num_threads(1)
check_norms(f"{out}/norms-{distributed.rank()}.pt")
for lever in LEVERS:
    torch.save(tune(lot, backbone, lever), f"{out}/{lever}-{distributed.rank()}.pt")
rank = distributed.rank()
before = list_gloo_threads()
distributed._leave()
with open(f"{out}/threads-{rank}.json", "w") as file:
    json.dump([before, list_gloo_threads()], file)
"""


def list_gloo_threads():
    """Names of this process's threads that carry out what gloo is asked for."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if name.startswith("pt_gloo")]


def read_photos(lot):
    """A training part of 28 photos, unequal in classes, and a validation part."""
    catalog, spec = open_lot(Path(lot)).train, ImageSpec(48, 64)
    ids = sorted(catalog.ids)
    return [decode_photos(catalog.select(part), spec) for part in (ids[8:], ids[:8])]


@contextmanager
def float64():
    """What would be float32 is float64, so that nothing hangs on how a CPU rounds its sums."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(torch.Tensor, "float", torch.Tensor.double):
            yield
    finally:
        torch.set_default_dtype(before)


@float64()
def tune(lot, backbone, lever):
    changes = dict(LEVERS[lever])
    stage = Finetune.model_validate(
        {"kind": "finetune", "lr": 0.005, "batch_size": 6, "sizes": SIZES, "ema": 0.0}
        # Adam makes a step of full length of a gradient that is nothing but rounding.
        | {"optimiser": {"name": "sgd"}}
        | {key: value for key, value in changes.items() if key != "head"}
    )
    from lotlens.recipes.schema import Head

    classifier = build_classifier(backbone, 3, head=Head.model_validate(changes.get("head", {})))
    tuned = fine_tune(classifier, stage, *read_photos(lot), seed=3)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in tuned.history]
    return {"weights": classifier.state_dict(), "history": history, "soup": tuned.soup or {}}


@pytest.fixture(scope="module")
def pair(small_lot, tiny_backbone, tmp_path_factory):
    """A folder with what two processes ended with, lever by lever."""
    folder = tmp_path_factory.mktemp("pair")
    codes, said = fork_pair(folder, SCRIPT, small_lot, tiny_backbone, folder)
    assert codes == [0, 0], said
    return folder


def largest_difference(one, other):
    """Of tensors by name: the largest difference, as a share of the tensor's largest value."""
    assert one.keys() == other.keys()
    shares = {
        key: float((one[key].double() - other[key].double()).abs().max())
        / max(float(one[key].double().abs().max()), 1e-3)
        for key in one
    }
    return max(shares.values(), default=0.0)


@pytest.mark.parametrize("lever", LEVERS)
def test_two_processes_end_as_one_with_the_same_batch(small_lot, tiny_backbone, pair, lever):
    alone = tune(small_lot, tiny_backbone, lever)
    ranks = [torch.load(pair / f"{lever}-{rank}.pt", weights_only=True) for rank in (0, 1)]
    for part in ("weights", "soup"):
        assert all(torch.equal(ranks[0][part][k], ranks[1][part][k]) for k in alone[part])
        assert all(v.dtype == torch.float64 for v in alone[part].values() if v.is_floating_point())
        assert largest_difference(alone[part], ranks[0][part]) < CLOSE
    assert ranks[0]["history"] == ranks[1]["history"]
    assert len(ranks[0]["history"]) == len(alone["history"])
    for row, expected in zip(ranks[0]["history"], alone["history"], strict=True):
        for name in ("train_loss", "validation_log_loss"):
            assert row[name] == pytest.approx(expected[name], rel=CLOSE)
        assert row["lr"] == pytest.approx(expected["lr"])


NORMS = {
    "rows": ((8, 5), {}),
    "pictures": ((6, 5, 4, 3), {}),
    "channels-last": ((6, 5, 4, 3), {"channels_last": True}),
    "far-from-zero": ((6, 5, 4, 3), {"offset": 1000.0}),
    "plain": ((6, 5, 4, 3), {"affine": False}),
    "momentum": ((8, 5), {"momentum": None}),
    "inference": ((8, 5), {"training": False}),
    "single-rows": ((2, 5), {}),
}


def norm_once(case):
    """A batch through BatchNorm, forward and backward; the rows of this process alone."""
    shape, options = NORMS[case]
    options = dict(options)
    is_channels_last = options.pop("channels_last", False)
    offset, training = options.pop("offset", 0.0), options.pop("training", True)
    kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
    generator = torch.Generator().manual_seed(5)
    norm = kind(shape[1], **options).train(training)
    for parameter in norm.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    batch = torch.randn(shape, generator=generator) * 3 + offset
    factors = distributed.own_rows(torch.randn(shape, generator=generator))
    rows = distributed.own_rows(batch)
    if is_channels_last:
        rows = rows.contiguous(memory_format=torch.channels_last)
    rows = rows.requires_grad_()
    with distributed.whole_batch():
        for _ in range(2):
            outputs = norm(rows)
    (outputs * factors).sum().backward()
    return {
        "outputs": outputs.detach(),
        "gradient": rows.grad,
        **{f"of-{name}": parameter.grad for name, parameter in norm.named_parameters()},
        **norm.state_dict(),
    }


def check_norms(path):
    torch.save({case: norm_once(case) for case in NORMS}, path)


@pytest.mark.parametrize("case", NORMS)
def test_batch_norm_is_that_of_the_whole_batch(pair, case):
    whole = norm_once(case)
    ranks = [torch.load(pair / f"norms-{rank}.pt", weights_only=True)[case] for rank in (0, 1)]
    # One part in 10^7 of the values themselves is what float32 holds of them.
    close = {"rtol": 1e-4, "atol": 2e-4 if case == "far-from-zero" else 1e-5}
    for key, expected in whole.items():
        if key in ("outputs", "gradient"):
            seen = torch.cat([of_rank[key] for of_rank in ranks])
        elif key.startswith("of-"):
            seen = ranks[0][key] + ranks[1][key]
        else:
            assert torch.equal(ranks[0][key], ranks[1][key])
            seen = ranks[0][key]
        torch.testing.assert_close(seen, expected, **close, msg=lambda said, key=key: key + said)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are listed in /proc")
def test_no_thread_of_gloo_outlives_the_group(pair):
    """One that does may want the interpreter while that is taken down, which aborts the process."""
    for rank in (0, 1):
        before, after = json.loads((pair / f"threads-{rank}.json").read_text())
        assert before
        assert not after


def test_a_process_that_is_alone_shares_nothing():
    assert distributed.world_size() == 1
    assert distributed.is_first()
    assert distributed.on_first(lambda: 5) == 5
    assert distributed.any_process(True, False) == (True, False)
    batch = torch.arange(6)
    assert torch.equal(distributed.own_rows(batch), batch)
    before = functional.batch_norm, functional.dropout
    with distributed.whole_batch():
        assert (functional.batch_norm, functional.dropout) == before


def test_the_shares_of_a_batch_make_the_batch():
    whole = EpochBatches(29, 6, seed=1)
    shares = [EpochBatches(29, 6, seed=1, rank=rank, num_ranks=3) for rank in range(3)]
    for epoch in (0, 1):
        for batches in (whole, *shares):
            batches.set_epoch(epoch)
            batches.skip(1, 2)
        assert list(whole) == [[*a, *b, *c] for a, b, c in zip(*shares, strict=True)]


def test_a_batch_that_cannot_be_shared_is_one_clear_error(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    distributed.check_shares(12)
    with pytest.raises(InputError, match="multiple of 4, such as 12"):
        distributed.check_shares(15)
    with pytest.raises(InputError, match="such as 4"):
        distributed.check_shares(3)


@pytest.fixture(scope="module")
def recipe_path(tiny_backbone, tmp_path_factory):
    recipe = make_tiny_recipe(tiny_backbone)
    recipe["deterministic"] = True
    # What a head of large weights and statistics of few photos make of the tiny network hangs on
    # a CPU's rounding: so neither. BatchNorm over both processes is among LEVERS.
    recipe["stages"][0]["penalties"] = [1e-6]
    recipe["stages"][1] |= {"optimiser": "sgd", "batch_norm": "frozen"}
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML too
    return path


@pytest.fixture(scope="module")
def told_pair(small_lot, recipe_path, tmp_path_factory):
    """A run of two processes that nothing stopped, and what they said."""
    path = tmp_path_factory.mktemp("told") / "pair"
    command = ["-m", "lotlens.cli", "train", small_lot, "--recipe", recipe_path]
    process = start([*command, "--out", path, "--workers", 1])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return path, out, err


def read_history(run):
    with run.history_path.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_lotlens_train_under_torchrun_writes_one_run_as_one_process_does(
    small_lot, recipe_path, told_pair, tmp_path
):
    alone = lotlens.train(small_lot, recipe_path, out=tmp_path / "alone")
    path, out, err = told_pair
    assert out.count("report  ") == 1
    assert "Traceback" not in err
    assert "Warning" not in err
    run = RunFolder.open(path)
    assert {path.name for path in run.path.iterdir()} == {
        path.name for path in alone.run.path.iterdir()
    }
    card = run.read_card()
    assert [metric.name for metric in card.metrics] == [m.name for m in alone.card.metrics]
    assert card.metrics[0].value == pytest.approx(alone.card.metrics[0].value)
    # "probe 0.667 (0.9 nats), fine-tuned ...": the same candidates, judged alike.
    words, expected = (re.split(r"[ ,;()]+", c.chosen) for c in (card, alone.card))
    assert len(words) == len(expected)
    for word, other in zip(words, expected, strict=True):
        if re.fullmatch(r"[\d.]+", other):
            assert float(word) == pytest.approx(float(other), abs=0.002)
        else:
            assert word == other
    for row, other in zip(run.read_history(), alone.run.read_history(), strict=True):
        for name in ("train_loss", "validation_log_loss"):
            assert float(row[name]) == pytest.approx(float(other[name]), rel=1e-4)
    one, other = load_file(alone.run.weights_path), load_file(run.weights_path)
    assert largest_difference(one, other) < CLOSE_IN_FLOAT32
    answers = [load_predictions(r.validation_path).logits for r in (alone.run, run)]
    np.testing.assert_allclose(*answers, rtol=1e-3, atol=1e-3)


KILLED = """
import os, signal, sys
import lotlens
from lotlens.vision import stages
stages._CHECKPOINT_STEPS = 1
lot, recipe, out = sys.argv[1:]
steps = 0
def watch(what, done, total):
    global steps
    steps += what == "fine-tuning"
    if steps == 4:
        os.kill(os.getpid(), signal.SIGKILL)
lotlens.train(lot, recipe, out=out, resume=True, watch=watch)
"""


def test_a_killed_pair_goes_on_to_the_same_bits(small_lot, recipe_path, told_pair, tmp_path):
    codes, said = fork_pair(tmp_path, KILLED, small_lot, recipe_path, tmp_path / "killed")
    assert -signal.SIGKILL in codes, said
    assert 0 not in codes
    assert (tmp_path / "killed" / "checkpoint" / "stage-1" / "step.ckpt").is_file()
    again = ("train", small_lot, "--out", tmp_path / "killed", "--resume")
    codes, said = fork_pair(tmp_path, COMMAND, *again)
    assert codes == [0, 0], said
    whole, killed = (RunFolder.open(path) for path in (told_pair[0], tmp_path / "killed"))
    assert read_history(killed) == read_history(whole)
    assert killed.read_card().weights_sha256 == whole.read_card().weights_sha256


def test_ctrl_c_stops_a_pair_where_it_can_go_on(small_lot, tiny_recipe, tmp_path):
    tiny_recipe["stages"][1]["sizes"][0]["epochs"] = 1000
    path = tmp_path / "long.yaml"
    path.write_text(json.dumps(tiny_recipe))
    command = ["-m", "lotlens.cli", "train", small_lot, "--recipe", path, "--workers", 1]
    process = start([*command, "--out", tmp_path / "run"])
    log = tmp_path / "run" / "tensorboard" / "stage-1"
    deadline_s = time.monotonic() + 120
    while not log.is_dir() and process.poll() is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("go on with  lotlens train") == 1, err
    assert (tmp_path / "run" / "checkpoint" / "stage-1" / "step.ckpt").is_file()


def test_a_batch_that_cannot_be_shared_ends_all(small_lot, recipe_path, tmp_path):
    command = ("train", small_lot, "--recipe", recipe_path, "--set", "stages.1.batch_size=7")
    codes, said = fork_pair(tmp_path, COMMAND, *command, "--out", tmp_path / "run")
    assert codes == [2, 2], said
    assert "shared evenly by 2 processes" in said[0]
    assert not (tmp_path / "run").exists()


def test_several_processes_want_their_folder_named(small_lot, recipe_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(distributed, "is_launched", lambda: True)
    with pytest.raises(InputError, match="name it with --out"):
        lotlens.train(small_lot, recipe_path)
    assert not list(tmp_path.iterdir())
