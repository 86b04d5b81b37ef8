"""Measures whether frozen features tell unfamiliar photos better than those of a trained network.

    python benchmarks/features.py DATA RUNS/standard-0-2000 RUNS/standard-0-0

DATA is as for others.py, RUNS a folder that it left. For each run the test photos of its classes,
those of the classes that neither it nor its other cars have shown, and photographs of no car are
asked about by the features of the network before training, after it, and both (the mean of the two
scores, each as ranks among the known photos); beside them what the run itself goes by. Printed as a
table; nothing is to be chosen by these figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from others import NUM_KNOWN, NUM_OTHERS
from refusal import find_photographs

import lotlens
from lotlens.answering.predict import predict
from lotlens.answering.views import WHOLE
from lotlens.deliver.own_data import open_own_data
from lotlens.intervals import measure_auroc
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.records import Catalog
from lotlens.refusal.familiarity import (
    learn_reference,
    list_scores,
    measure_mahalanobis,
    measure_neighbours,
    sample_references,
)
from lotlens.vision.batches import decode_photos
from lotlens.vision.classifier import build_classifier
from lotlens.vision.pooling import NUM_FOR_DIRECTIONS
from lotlens.vision.predictor import ClassifierPredictor

Scores = NDArray[np.float64]


def ask_frozen(model: lotlens.Model, catalogs: dict[str, Catalog]) -> dict[str, dict[str, Scores]]:
    """Method -> kind of photo -> scores, by the features of the backbone before training."""
    own, card = open_own_data(model), model.card
    recipe = parse_recipe(dict(card.recipe), source="card")
    network = build_classifier(
        recipe.backbone,
        len(card.classes),
        num_levels=recipe.feature_levels,
        pooling=recipe.pooling,
        has_others=card.has_others,
    )
    learnt = own.lot.train.select(own.learnt)
    few = decode_photos(learnt.spread(NUM_FOR_DIRECTIONS), card.image)
    network.fit_pooling(few.batches(32))
    predictor = ClassifierPredictor(network.eval(), card, num_photos=4000)
    rows = sample_references(learnt.targets())
    sample = Catalog(tuple(learnt.photos[row] for row in rows), learnt.classes)

    def find_features(catalog: Catalog) -> NDArray[np.float32]:
        found = predict(predictor, catalog, views=(WHOLE,), keep_features=True)
        assert found.features is not None
        return found.features

    reference = learn_reference(find_features(sample), sample.targets())
    assert reference is not None
    scores: dict[str, dict[str, Scores]] = {"neighbours": {}, "mahalanobis": {}}
    for kind, catalog in catalogs.items():
        features = find_features(catalog)
        scores["neighbours"][kind] = measure_neighbours(features, reference)
        scores["mahalanobis"][kind] = measure_mahalanobis(features, reference)
    return scores


def rank(scores: dict[str, Scores]) -> dict[str, Scores]:
    """Scores as the share of known photos that have less."""
    known = np.sort(scores["known"][np.isfinite(scores["known"])])
    return {kind: np.searchsorted(known, own) / len(known) for kind, own in scores.items()}


def measure(data: Path, run: Path) -> None:
    """Print a row for each method, features and kind of photo."""
    model, lot = lotlens.load(run), open_lot(data)
    seed = int(model.card.recipe["seed"])
    labels = np.random.default_rng(seed).permutation(list(lot.train.labels)).tolist()
    known, never = set(labels[:NUM_KNOWN]), set(labels[NUM_KNOWN + NUM_OTHERS :])
    test = open_lot(data / "test-labels.csv", photos=data / "test.zip").train.photos
    catalogs = {
        "known": Catalog(tuple(p for p in test if p.label in known), ()),
        "never seen": Catalog(tuple(p for p in test if p.label in never), ()).spread(1000),
        "photographs": find_photographs(),
    }
    frozen = ask_frozen(model, catalogs)
    answers = {kind: model.answer(own) for kind, own in catalogs.items()}

    def list_own(method: str) -> dict[str, Scores]:
        return {
            kind: list_scores(found, method, model.card.temperature)
            for kind, found in answers.items()
        }

    rows: list[tuple[str, str, dict[str, Scores]]] = []
    for method in ("neighbours", "mahalanobis"):
        tuned = list_own(method)
        before, after = rank(frozen[method]), rank(tuned)
        both = {kind: (before[kind] + after[kind]) / 2 for kind in catalogs}
        rows += [
            (method, "frozen", frozen[method]),
            (method, "trained", tuned),
            (method, "both", both),
        ]
    for method in ("max probability", "others"):
        own = list_own(method)
        if np.isfinite(own["known"]).any():
            rows.append((method, "trained", own))
    for method, features, scores in rows:
        cells = []
        for kind in list(catalogs)[1:]:
            ours, theirs = (s[np.isfinite(s)] for s in (scores["known"], scores[kind]))
            area = measure_auroc(ours, theirs)
            cells.append(f"{area.value:.3f} ({area.low:.3f} to {area.high:.3f})")
        print(f"| {run.name} | {method} | {features} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    print(
        "| run | method | features | never seen: AUROC | photographs: AUROC |\n" + "|---" * 5 + "|"
    )
    for run in options.runs:
        measure(options.data, run)


if __name__ == "__main__":
    main()
