"""Measures doubts on planted wrong labels, and what dropping or correcting them gives back.

    python benchmarks/doubts.py DATA --recipe quick --seed 0 1 2 --work FOLDER
    python benchmarks/doubts.py DATA --found-by standard folds=5 --seed 0 1 2 --work FOLDER

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv. In every
round 5 % of the labels of train.csv, drawn by the seed, are changed to another class at random. A
model is trained on that (validation is drawn once, by the true labels, and used by all trainings of
a seed), its doubts are found (with --found-by: those of another recipe's run on the same labels,
seeds and splits of its own), and five more models say what wrong labels cost:

    clean       the true labels
    flipped     the wrong ones among them
    dropped     without as many of the first doubts as labels were changed, nobody having looked
    suggested   these relabelled as the model suggests, nobody having looked
    corrected   these looked at by somebody who knows the models, wrong labels put right
    reviewed    a tenth of all photos, the first doubts, looked at likewise

Test photos score each of them and choose nothing. Rows go into doubts.csv beside this file, one
for each training; those that are there are not measured again. Without DATA it prints the tables
and draws doubts.svg, precision and recall over the share of photos looked at.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from results import add_row, read_rows, tell

import lotlens
from lotlens.audit.parts import read_split, write_split
from lotlens.files import write_bytes_atomically, write_rows_atomically
from lotlens.judge.compare import Answers, compare_pair, measure_spread
from lotlens.judge.metrics import align_targets
from lotlens.photos.decisions import Decision, decisions_path, write_decisions
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.labelled import open_data
from lotlens.photos.sources import open_lot
from lotlens.records import Doubt, Split
from lotlens.report.charts import BLUE, GREY, INK, LINE, draw_figure
from lotlens.verbs.doubts import doubt

RESULTS = Path(__file__).with_suffix(".csv")
PICTURE = Path(__file__).with_suffix(".svg")
COLUMNS = ("data", "recipe", "seed", "labels", "flipped", "photos", "test_photos", "right", "ranks")
LABELS = ("clean", "flipped", "dropped", "suggested", "corrected", "reviewed")
FLIPPED_SHARE, LOOKED_AT = 0.05, 0.1


def flip(labels: Sequence[str], seed: int) -> dict[int, str]:
    """Row -> its wrong label, for 5 % of the rows."""
    rng = np.random.default_rng([seed, len(labels)])
    known = sorted(set(labels))
    rows = rng.permutation(len(labels))[: round(FLIPPED_SHARE * len(labels))].tolist()
    return {row: str(rng.choice([one for one in known if one != labels[row]])) for row in rows}


def lay_lot(data: Path, labels: dict[str, str], folder: Path) -> Path:
    """DATA's training photos with these labels; decisions may lie beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows_atomically(folder / "train.csv", ("Id", "Category"), [*labels.items()])
    for name in ("train.zip", "classes.csv"):
        if not (folder / name).exists():
            (folder / name).symlink_to((data / name).resolve())
    return folder


def train(lot: Path, recipe: str, seed: int, split: Split, out: Path) -> lotlens.Model:
    """Train on what is left of the split's photos, each on the side it always has."""
    if (out / "card.json").is_file():
        return lotlens.load(out)
    shutil.rmtree(out, ignore_errors=True)
    catalog = open_data(lot).train.with_files()
    known = set(catalog.ids)
    parts = {part: tuple(id_ for id_ in ids if id_ in known) for part, ids in split.parts.items()}
    path = out.with_suffix(".split.csv")
    write_split(path, Split(parts, split.seed, fingerprint(catalog)))
    overrides = [f"seed={seed}"]
    return lotlens.train(lot, recipe, overrides=overrides, out=out, split_path=path, watch=tell)


def score(model: lotlens.Model, data: Path) -> tuple[str, int]:
    """Right answers to the test photos as a hexadecimal number of one bit a photo, by id."""
    catalog = open_lot(data / "test-labels.csv", photos=data / "test.zip").train
    predictions = model.answer(catalog)
    right = predictions.answered & (
        predictions.logits.argmax(axis=1) == align_targets(predictions, catalog)
    )
    by_id = dict(zip(predictions.ids, right.tolist(), strict=True))
    bits = "".join("01"[by_id[id_]] for id_ in sorted(by_id))
    return f"{int(bits, 2):x}", len(bits)


def decide(
    kind: str, doubts: Sequence[Doubt], truth: dict[str, str], num_flipped: int
) -> list[Decision]:
    """What is decided of the first doubts, with or without a look."""
    if kind == "dropped":
        return [Decision(d.photo_id, "drop", "", d.label) for d in doubts[:num_flipped]]
    if kind == "suggested":
        return [
            Decision(d.photo_id, "relabel", d.suggested, d.label)
            for d in doubts[:num_flipped]
            if d.suggested != d.label
        ]
    looked_at = doubts[: num_flipped if kind == "corrected" else round(LOOKED_AT * len(truth))]
    return [
        Decision(d.photo_id, "relabel", truth[d.photo_id], d.label)
        for d in looked_at
        if truth[d.photo_id] != d.label
    ]


def name_row(recipe: str, found_by: Sequence[str]) -> str:
    """What stands in the column "recipe"."""
    return f"{recipe}, doubts by {' '.join(found_by)}" if found_by else recipe


def measure(data: Path, recipe: str, found_by: Sequence[str], seed: int, work: Path) -> None:
    """One seed: the trainings that have no row yet, and their rows."""
    name = name_row(recipe, found_by)
    key = (data.name, name, str(seed))
    rows = [row for row in read_rows(RESULTS) if (row["data"], row["recipe"], row["seed"]) == key]
    done = {row["labels"] for row in rows}
    if done.issuperset(LABELS):
        return
    lot = open_lot(data)
    truth = {photo.id: photo.label or "" for photo in lot.train.photos}
    ids = list(truth)
    changed = flip(list(truth.values()), seed)
    wrong = {id_: changed.get(row, truth[id_]) for row, id_ in enumerate(ids)}
    flipped = {ids[row] for row in changed}
    folder = work / f"{recipe}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    clean = lay_lot(data, truth, folder / "clean")
    path = folder / "split.csv"
    if not path.is_file():
        lotlens.split(clean, seed=seed, out=path)
    split = read_split(path)
    spoilt = train(
        lay_lot(data, wrong, folder / "flipped"), recipe, seed, split, folder / "run-flipped"
    )
    doubted = spoilt.run.path
    if found_by:
        finder, *overrides = found_by
        doubted = folder / f"run-{'-'.join(found_by)}"
        if not (doubted / "card.json").is_file():
            lotlens.train(
                folder / "flipped",
                finder,
                overrides=[*overrides, f"seed={seed}"],
                out=doubted,
                resume=doubted.is_dir(),
                watch=tell,
            )
    found = doubt(doubted, watch=tell)
    place = {doubt.photo_id: rank for rank, doubt in enumerate(found.doubts)}
    ranks = " ".join(str(place.get(id_, -1)) for id_ in sorted(flipped))
    for kind in LABELS:
        if kind in done:
            continue
        if kind == "clean":
            model = train(clean, recipe, seed, split, folder / "run-clean")
        elif kind == "flipped":
            model = spoilt
        else:
            laid = "-".join((kind, *found_by))
            own = lay_lot(data, wrong, folder / laid)
            decisions = decide(kind, found.doubts, truth, len(flipped))
            write_decisions(decisions_path(own), decisions)
            model = train(own, recipe, seed, split, folder / f"run-{laid}")
        right, num_photos = score(model, data)
        row = (data.name, name, seed, kind, len(flipped), len(ids), num_photos, right)
        add_row(RESULTS, COLUMNS, (*row, ranks if kind == "flipped" else ""))


def read_rights(row: dict[str, str]) -> np.ndarray:
    bits = f"{int(row['right'], 16):0{int(row['test_photos'])}b}"
    return np.array([bit == "1" for bit in bits])


def print_found(rows: Sequence[dict[str, str]]) -> None:
    """Of each seed, how many of the first doubts had wrong labels."""
    print(
        "| recipe | seed | flipped | of as many first doubts | average precision"
        " | in the first tenth |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        ranks = np.array([int(rank) for rank in row["ranks"].split()])
        num_flipped, num_photos = int(row["flipped"]), int(row["photos"])
        hits = np.sort(ranks[ranks >= 0])
        precision = (hits < num_flipped).sum() / num_flipped
        average = float(np.sum(np.arange(1, len(hits) + 1) / (hits + 1)) / num_flipped)
        recall = (hits < LOOKED_AT * num_photos).sum() / num_flipped
        print(
            f"| {row['recipe']} | {row['seed']} | {num_flipped} | {precision:.3f} | {average:.3f}"
            f" | {recall:.3f} |"
        )


def print_returned(rows: Sequence[dict[str, str]], recipe: str) -> None:
    """Accuracy by labels over all seeds, and which part of the loss came back."""
    by_seed: dict[str, dict[str, np.ndarray]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], {})[row["labels"]] = read_rights(row)
    whole = [own for own in by_seed.values() if set(own) == set(LABELS)]
    if not whole:
        return
    rights = {kind: np.stack([own[kind] for own in whole]) for kind in LABELS}
    num_seeds, num_photos = rights["clean"].shape
    answers = {
        kind: Answers(tuple(range(num_seeds)), tuple(map(str, range(num_photos))), own)
        for kind, own in rights.items()
    }
    lost = rights["clean"].mean() - rights["flipped"].mean()
    print(f"\n{recipe}: {num_seeds} seeds, {num_photos} test photos; 95 % intervals for other ones")
    print("| labels | accuracy | less than clean | part of the loss that came back |")
    print("|---|---|---|---|")
    for kind in LABELS:
        spread = measure_spread(answers[kind])
        accuracy, low, high = spread.mean, spread.low, spread.high
        behind = compare_pair(answers["clean"], answers[kind])
        back = (accuracy - rights["flipped"].mean()) / lost if lost > 0 else float("nan")
        shown = "" if kind in ("clean", "flipped") else f"{back:.2f}"
        print(
            f"| {kind} | {accuracy:.3f} ({low:.3f} to {high:.3f}) |"
            f" {100 * behind.difference:.1f} points ({100 * behind.low:.1f} to"
            f" {100 * behind.high:.1f}) | {shown} |"
        )


def draw(rows: Sequence[dict[str, str]]) -> None:
    """Precision and recall of the doubts over the share of photos looked at, every seed a line."""
    with draw_figure(7.6, 3.4) as (figure, buffer):
        for number, (name, colour) in enumerate((("precision", BLUE), ("recall", INK))):
            axes = figure.add_subplot(1, 2, number + 1)
            for row in rows:
                ranks = np.array([int(rank) for rank in row["ranks"].split()])
                num_photos, num_flipped = int(row["photos"]), int(row["flipped"])
                looked = np.arange(1, round(0.3 * num_photos))
                hits = np.array([((ranks >= 0) & (ranks < k)).sum() for k in looked])
                share = hits / (looked if name == "precision" else num_flipped)
                style = "-" if row["recipe"] == "quick" else "--"
                axes.plot(looked / num_photos, share, style, color=colour, linewidth=1.4)
            axes.axvline(FLIPPED_SHARE, color=GREY, linewidth=1)
            axes.set_ylim(0, 1.02)
            axes.set_xlabel("share of photos looked at")
            axes.set_title(name, fontsize=11)
            axes.grid(color=LINE, linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
    write_bytes_atomically(PICTURE, buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--found-by", nargs="+", default=[], metavar="RECIPE KEY=VALUE")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--work", type=Path, default=Path("doubts-work"))
    options = parser.parse_args()
    if options.data is not None:
        for seed in options.seed:
            measure(options.data, options.recipe, options.found_by, seed, options.work)
    rows = read_rows(RESULTS)
    if rows:
        spoilt = [row for row in rows if row["labels"] == "flipped"]
        print_found(spoilt)
        draw(spoilt)
        for recipe in dict.fromkeys(row["recipe"] for row in rows):
            print_returned([row for row in rows if row["recipe"] == recipe], recipe)


if __name__ == "__main__":
    main()
