"""An export answers as its run does, through the code that users run, or is not written."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

import lotlens
from lotlens.answering import exported as runtime
from lotlens.answering.answers import load_predictions
from lotlens.answering.engines import Engine
from lotlens.deliver import bench as bench_module
from lotlens.deliver import parity
from lotlens.deliver.quantise import rank_groups
from lotlens.errors import BundleError, InputError
from lotlens.photos import decode as decode_module
from lotlens.photos import formats
from lotlens.photos.sources import open_photos
from lotlens.recipes.loading import parse_recipe
from lotlens.records import ModelCard
from lotlens.verbs.export import export

pytestmark = pytest.mark.usefixtures("plain_charts")


@pytest.fixture(scope="module")
def trained(tiny_run):
    return lotlens.load(tiny_run.path)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    return export(trained.run.path, out=tmp_path_factory.mktemp("export") / "bundle")


def test_an_export_answers_as_torch_did(trained, exported, small_lot):
    assert not exported.parity.faults
    assert exported.parity.same.value == 1
    assert exported.parity.relative < 1e-3
    assert exported.parity.num_made == 16
    catalog = open_photos([small_lot / "test.zip"])
    one, other = trained.answer(catalog), lotlens.load(exported.path).answer(catalog)
    assert one.ids == other.ids
    assert one.status == other.status
    np.testing.assert_allclose(one.logits, other.logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(one.familiarity, other.familiarity, rtol=1e-2, atol=1e-2)


def test_a_bundle_says_what_it_is(trained, exported):
    card = lotlens.load(exported.path).card
    assert (card.engine, card.precision) == ("onnx", "fp32")
    assert card.checked["same_answers"]["value"] == 1
    assert card.checked["photos"] == exported.parity.num_photos > 0
    about = {
        entry.key: entry.value for entry in onnx.load(exported.path / "model.onnx").metadata_props
    }
    within = ModelCard.from_dict(json.loads(about["lotlens"]))
    assert within.image == trained.card.image
    assert within.classes == trained.card.classes
    with (exported.path / "parity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == exported.parity.num_photos + exported.parity.num_made
    assert {row["Made"] for row in rows} == {"", "yes"}
    assert "photo.heic" in {row["Id"] for row in rows}


def test_a_bundle_needs_no_run_and_judges_only_what_it_has_not_learnt(exported, small_lot):
    judged = lotlens.evaluate(exported.path, small_lot, report=exported.path.parent / "report.html")
    assert judged.accuracy.count == exported.parity.num_photos
    frame = lotlens.predict(exported.path, out=exported.path.parent / "submission.csv", fill=True)
    assert set(frame["status"]) == {"ok"}


def swap_card(monkeypatch, **changes):
    real = bench_module.Bench.write

    def write(self, folder, files, card):
        real(self, folder, files, replace(card, image=replace(card.image, **changes)))

    monkeypatch.setattr(bench_module.Bench, "write", write)


def swap_engine(monkeypatch, change, before=lambda: None):
    real = runtime.open_onnx

    def open_onnx(*files, **options):
        before()
        engine = real(*files, **options)
        return Engine(lambda batch: engine(np.ascontiguousarray(change(batch))), engine.num_streams)

    monkeypatch.setattr(runtime, "open_onnx", open_onnx)


FAULTS = {
    "another mean": lambda m: swap_card(m, mean=(0.5, 0.5, 0.5)),
    "another std": lambda m: swap_card(m, std=(0.5, 0.5, 0.5)),
    "a centre crop": lambda m: swap_card(m, fit="crop"),
    "another filter": lambda m: swap_card(m, interpolation="nearest"),
    "BGR": lambda m: swap_engine(m, lambda batch: batch[:, ::-1]),
    "scaled twice": lambda m: swap_engine(m, lambda batch: batch / 255),
    "mirrored": lambda m: swap_engine(m, lambda batch: batch[..., ::-1]),
}


def test_the_faults_are_faults(trained):
    image = trained.card.image
    assert image.mean != (0.5, 0.5, 0.5) != image.std
    assert (image.fit, image.interpolation) == ("pad", "bicubic")


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_preprocessing_is_caught(trained, tmp_path, monkeypatch, fault):
    FAULTS[fault](monkeypatch)
    with pytest.raises(BundleError, match=r"nothing was written: the logits of \d+ of \d+ photos"):
        export(trained.run.path, out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_an_orientation_that_is_not_applied_is_caught(trained, tmp_path, monkeypatch):
    def forget():
        monkeypatch.setattr(decode_module, "_UPRIGHT", {})

    swap_engine(monkeypatch, lambda batch: batch, forget)
    with pytest.raises(BundleError, match=r"nothing was written.*exif-orientation-\d\.jpg"):
        export(trained.run.path, out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_formats_that_cannot_be_read_are_caught(trained, tmp_path, monkeypatch):
    def forget():
        monkeypatch.setattr(formats, "_HEIF_BRANDS", (b"none",))

    swap_engine(monkeypatch, lambda batch: batch, forget)
    with pytest.raises(BundleError, match=r"read otherwise: photo\.heic \(ok, exported: not a"):
        export(trained.run.path, out=tmp_path / "bundle")


def test_eight_bits_are_written_if_the_answers_stay(trained, tmp_path):
    loose = parity.Limits(difference=float("inf"), same=0.5, lost=0.5)
    done = export(trained.run.path, precision="int8", out=tmp_path / "int8", limits=loose)
    assert done.card.precision == "int8"
    names = [node.op_type for node in onnx.load(done.path / "model.onnx").graph.node]
    assert "QuantizeLinear" in names
    assert done.parity.largest > 1e-4  # it is not the same network
    assert lotlens.load(done.path).card.checked["kept"] == list(done.kept)


def list_small(graph):
    """Names of the convolutions whose weights have eight bits."""
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return {node.name for node in convolutions if made_by.get(node.input[1]) == "DequantizeLinear"}


def list_convolutions(model):
    nodes = onnx.load_model_from_string(model).graph.node
    return [node.name for node in nodes if node.op_type == "Conv"]


def test_layers_go_back_to_32_bits_until_the_answers_are_good_enough(
    trained, tmp_path, monkeypatch
):
    tried = []
    real = bench_module.Bench.try_out

    def try_out(self, onnx_file, precision, limits, kept=()):
        found = real(self, onnx_file, precision, limits, kept)
        if precision == "int8":
            tried.append(kept)
            faults = () if len(tried) == 3 else ("not good enough",)
            return replace(found, parity=replace(found.parity, faults=faults))
        return found

    def rank(model, batches):
        ranked = rank_groups(model, batches)
        left = [name for name in list_convolutions(model) if name not in sum(ranked, ())]
        return [*ranked, *((name,) for name in left)]  # an untrained network gains from few

    monkeypatch.setattr(bench_module, "rank_groups", rank)
    monkeypatch.setattr(bench_module.Bench, "try_out", try_out)
    done = export(trained.run.path, precision="int8", out=tmp_path / "int8")
    assert tried[0] == ()
    assert len(tried) == 3
    assert set(tried[1]) < set(tried[2])
    assert set(done.kept) == set(tried[2])
    small = list_small(onnx.load(done.path / "model.onnx").graph)
    assert small
    assert small.isdisjoint(done.kept)


def test_eight_bits_that_change_too_much_are_refused(trained, tmp_path, monkeypatch):
    # Each group that is tried in 32 bits is a network made, written, opened and asked.
    monkeypatch.setattr(bench_module, "_MOST_KEPT", 1)
    strict = parity.Limits(difference=1e-7, same=1.0, lost=0.0)
    with pytest.raises(BundleError, match="the int8 export for onnx answers otherwise"):
        export(trained.run.path, precision="int8", out=tmp_path / "int8", limits=strict)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_openvino_answers_alike(trained, tmp_path, small_lot, precision):
    pytest.importorskip("openvino")
    loose = parity.Limits(float("inf"), 0.5, 0.5) if precision == "int8" else None
    done = export(
        *(trained.run.path,),
        engine="openvino",
        precision=precision,
        out=tmp_path / "bundle",
        limits=loose,
    )
    assert {"model.xml", "model.bin", "card.json"} <= {path.name for path in done.path.iterdir()}
    assert b"lotlens" in (done.path / "model.xml").read_bytes()
    catalog = open_photos([small_lot / "test.zip"])
    found = lotlens.load(done.path).answer(catalog)
    if precision == "fp32":
        np.testing.assert_allclose(found.logits, trained.answer(catalog).logits, atol=1e-2)
    assert found.answered.all()


def test_folds_become_one_network(small_lot, tiny_recipe, tmp_path):
    run = lotlens.train(
        small_lot, parse_recipe({**tiny_recipe, "folds": 2}), out=tmp_path / "run"
    ).run
    done = export(run.path)
    assert done.path == run.path / "exports" / "onnx-fp32"
    assert lotlens.load(done.path).card.members == 2
    # It has learnt every photo: the stored answers are those of the run, not of the export.
    assert not (done.path / "validation.npz").exists()
    assert load_predictions(run.validation_path).answered.all()
    with pytest.raises(InputError, match="has learnt all of its photos"):
        lotlens.evaluate(done.path, small_lot)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "coreml"}, "unknown engine 'coreml': use onnx or openvino"),
        ({"precision": "int4"}, "unknown precision 'int4': use fp32 or int8"),
    ],
)
def test_what_is_not_known_is_refused(trained, options, said):
    with pytest.raises(InputError, match=said):
        export(trained.run.path, **options)


def test_an_export_is_not_exported_nor_written_over(trained, exported, tmp_path):
    with pytest.raises(InputError, match="is an export already"):
        export(exported.path)
    with pytest.raises(InputError, match="is already there"):
        export(trained.run.path, out=exported.path)


@pytest.mark.parametrize("name", ["model.onnx", "familiarity.npz", "shown.onnx"])
def test_a_replaced_file_is_refused(exported, small_lot, tmp_path, name):
    copy = tmp_path / "bundle"
    shutil.copytree(exported.path, copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        lotlens.load(copy).predict(small_lot / "test.zip")
