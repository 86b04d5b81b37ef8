"""Make one run of several finished ones that answer together, if that helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lotlens.answering.answers import save_predictions, select_predictions
from lotlens.answering.views import WHOLE
from lotlens.audit.known import join_known, read_known, write_known
from lotlens.audit.parts import LOCKED, TRAIN, VALIDATION, hash_split, list_held_out, write_split
from lotlens.deliver.model import Model, load
from lotlens.deliver.own_data import OwnData, open_own_data, read_own_answers, read_own_split
from lotlens.errors import BundleError, InputError
from lotlens.files import check_writable
from lotlens.judge.blend import Blend, blend_predictions, try_blend
from lotlens.judge.gain import describe_gain
from lotlens.judge.judged import calibrate
from lotlens.judge.metrics import align_targets
from lotlens.photos.tables import list_some
from lotlens.records import MOST_FOLDS, ModelCard, Predictions, Split
from lotlens.refusal.gates import learn_refusal
from lotlens.report.language import Language
from lotlens.report.run_report import choose_language, write_anew
from lotlens.run import RunFolder
from lotlens.texts import describe
from lotlens.version import __version__


@dataclass(frozen=True)
class EnsembleTrial:
    """What came of trying several runs together.

    Attributes:
        runs: their folders.
        blend: shares, what each run reaches alone, and the gain over the best of them.
        num_photos: validation photos that all runs share.
        model: the ensemble; None if it was not adopted, and then nothing was written.
    """

    runs: tuple[Path, ...]
    blend: Blend
    num_photos: int
    model: Model | None

    def __repr__(self) -> str:
        made = "not adopted" if self.model is None else f"adopted as {self.model.run.path}"
        return describe(f"EnsembleTrial of {len(self.runs)} runs", made)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        rows = zip(
            self.runs, self.blend.shares, self.blend.accuracies, self.blend.log_losses, strict=True
        )
        return {
            "adopted": self.model is not None,
            "run": None if self.model is None else str(self.model.run.path),
            "answers_per_photo": None if self.model is None else self.model.num_answers,
            "photos": self.num_photos,
            "best": str(self.runs[self.blend.best]),
            "gain": asdict(self.blend.gain),
            "trials": [
                {**asdict(trial), "run": str(self.runs[trial.number])}
                for trial in self.blend.trials
            ],
            "runs": [
                {"run": str(path), "share": share, "accuracy": accuracy, "log_loss": loss}
                for path, share, accuracy, loss in rows
            ],
        }


def build_ensemble(
    runs: Sequence[Path | str], out: Path | str | None = None, *, lang: str | None = None
) -> EnsembleTrial:
    """Let several runs answer together, if that helps on the validation photos they share.

    They may differ in all but the photos, labels and split that they were trained with: each
    keeps its bundle and prepares photos by its own card. Runs with folds are refused: answers out
    of fold are those of single members, which say neither what such a run answers nor what it
    gains from others. Answers are averaged in log space with shares that validation fits. Runs are
    adopted beside the best one by the rule for views: accuracy does not fall and the calibrated
    log loss does, beyond noise, each photo answered with shares fitted on others (see
    `judge.blend.try_blend`). If none is, nothing is written. The stored answers of the runs are
    used: no photo is read but for the report.

    Args:
        runs: two or more finished run folders.
        out: the folder for the ensemble, a run folder like any other; None for the next free one
            in runs/.
        lang: the language of its report, "en" or "ru"; None for that of the first run's.

    Raises:
        InputError: the runs cannot answer together: other classes, photos or labels, folds,
            ensembles themselves, the same model twice, one trained on another's validation photos,
            too few validation photos in common; or `out` holds something.
        BundleError: a run is missing or damaged, or its data have changed.
        OutputError: a file cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    if out is not None:
        check_writable(RunFolder(Path(out)).card_path)
    models = [load(run) for run in runs]
    _check_joinable(models)
    language = choose_language(lang, models[0].run)
    stem = f"{models[0].data_path.stem}-ensemble"
    claimed = (
        RunFolder.claim_next(Path("runs"), stem, "ensemble")
        if out is None
        else RunFolder.claim(Path(out), "ensemble")
    )
    with claimed as folder:
        folder.check_free()
        return _build(models, folder, language)


def _build(models: Sequence[Model], folder: RunFolder, language: Language) -> EnsembleTrial:
    """As `build_ensemble`, in a folder to which nobody else writes."""
    own = open_own_data(models[0])
    own = replace(own, split=_join_splits(models))
    answers = [_read_answers(model, own.validation.ids) for model in models]
    targets = align_targets(answers[0], own.validation)
    blend = try_blend([found.logits for found in answers], targets, own.validation.ids)
    paths = tuple(model.run.path for model in models)
    num_photos = blend.gain.num_photos
    if not blend.is_adopted:
        return EnsembleTrial(paths, blend, num_photos, None)
    kept = [number for number, share in enumerate(blend.shares) if share]
    for number in kept:
        models[number].build_predictor()  # a damaged bundle is refused before anything is written
    run, recipe = _begin_run(folder, own, [models[number] for number in kept])
    predictions = replace(blend_predictions(answers, blend.shares), logits=blend.logits)
    sha256 = save_predictions(run.validation_path, predictions)
    card = _join_cards(models, blend, kept, recipe, run, own)
    card = calibrate(card, predictions, own.validation)
    targets = align_targets(predictions, own.validation)
    refusal = learn_refusal(predictions, targets, card.temperature)
    # What a vehicle is does not depend on the model, and all were shown the same photos.
    own_rule = models[blend.best].card.refusal
    refusal = replace(refusal, vehicle=None if own_rule is None else own_rule.vehicle)
    run.write_card(replace(card, refusal=refusal, answers_sha256=sha256))
    model = Model(run)
    write_anew(replace(own, model=model), predictions, language=language)
    return EnsembleTrial(paths, blend, num_photos, model)


def _begin_run(
    folder: RunFolder, own: OwnData, members: Sequence[Model]
) -> tuple[RunFolder, dict[str, Any]]:
    """The run folder of an ensemble with the bundles of its members, and what is its recipe."""
    data = own.lot.source.resolve()
    run = RunFolder.create(folder.path)
    recipe = {"name": "ensemble", "runs": [dict(model.card.recipe) for model in members]}
    run.write_recipe(recipe)
    run.write_source(
        {
            "data": str(data),
            "lotlens_version": __version__,
            "runs": [str(model.run.path.resolve()) for model in members],
            "test": len(own.lot.test.with_files()),
        }
    )
    write_split(run.split_path, own.split)
    write_known(run.photos_path, join_known([read_known(m.run.photos_path) for m in members]))
    for number, model in enumerate(members):
        run.add_member(number, model.run)
    return run, recipe


def _join_cards(
    models: Sequence[Model],
    blend: Blend,
    kept: Sequence[int],
    recipe: Mapping[str, Any],
    run: RunFolder,
    own: OwnData,
) -> ModelCard:
    """The card of an ensemble, but for what validation's answers say."""
    cards = [models[number].card for number in kept]
    shares = [blend.shares[number] for number in kept]
    names = [models[number].run.path.name for number in kept]
    told = ", ".join(f"{name} {share:.2f}" for name, share in zip(names, shares, strict=True))
    return replace(
        models[blend.best].card,
        lotlens_version=__version__,
        backbone=", ".join(dict.fromkeys(card.backbone for card in cards)),
        recipe=recipe,
        members=sum(card.members for card in cards),
        views=(WHOLE,),
        chosen=f"an ensemble of runs by shares of the answer: {told}; {describe_gain(blend.gain)}",
        synthetic=any(card.synthetic for card in cards),
        shares=tuple(shares),
        weights_sha256=run.hash_members(len(kept)),
        split_sha256=hash_split(own.split),
    )


def _check_joinable(models: Sequence[Model]) -> None:
    """Refuse runs that cannot answer together.

    Raises:
        InputError: what differs, and in which run.
    """
    if not 2 <= len(models) <= MOST_FOLDS:
        raise InputError(f"an ensemble is made of 2 to {MOST_FOLDS} runs, not {len(models)}")
    first = models[0]
    seen: dict[str, Path] = {}
    for model in models:
        path, card = model.run.path, model.card
        if model.members:
            raise InputError(f"{path} is an ensemble itself: name its runs instead")
        if card.members != 1:
            raise InputError(
                f"{path} has folds: each of its validation answers is one member's, and it answers"
                " with all of them, so that validation cannot say what it is worth beside other"
                " runs; name runs without folds"
            )
        mark = str(card.weights_sha256)
        if mark in seen:
            raise InputError(f"{seen[mark]} and {path} hold the same model: name it once")
        seen[mark] = path
        if card.classes != first.card.classes:
            ours, theirs = ({car.shown for car in c.classes} for c in (first.card, card))
            odd = sorted(ours ^ theirs)
            what = f"{list_some(odd)} in one alone" if odd else "the same ones in another order"
            raise InputError(
                f"{first.run.path} and {path} tell other classes apart ({what}): runs of an"
                " ensemble are trained on the same data"
            )
        if card.fingerprint != first.card.fingerprint:
            raise InputError(
                f"{first.run.path} and {path} were trained on other photos or labels (fingerprints"
                f" {first.card.fingerprint!s:.12} and {card.fingerprint!s:.12}): train both on the"
                " same data with one --split"
            )


def _join_splits(models: Sequence[Model]) -> Split:
    """What is held out of all runs, what is locked in all, and the rest.

    Raises:
        InputError: a run was trained on photos that are held out of another.
    """
    splits = [read_own_split(model) for model in models]
    for model, split in zip(models, splits, strict=True):
        learnt = set(split.parts.get(TRAIN, ()))
        for other, theirs in zip(models, splits, strict=True):
            seen = [id_ for id_ in list_held_out(theirs) if id_ in learnt]
            if seen:
                raise InputError(
                    f"{model.run.path} was trained on {len(seen):,} of the validation photos of"
                    f" {other.run.path} ({list_some(seen)}), so that nothing fair can be said of"
                    " the two together: train both with one --split"
                )
    held_out = [set(list_held_out(split)) for split in splits]
    shared = tuple(id_ for id_ in list_held_out(splits[0]) if all(id_ in own for own in held_out))
    if not shared:
        raise InputError("the runs share no validation photo: train them with one --split")
    locked = set.intersection(*(set(split.parts.get(LOCKED, ())) for split in splits))
    every = dict.fromkeys(id_ for split in splits for ids in split.parts.values() for id_ in ids)
    rest = tuple(id_ for id_ in every if id_ not in locked and id_ not in set(shared))
    parts = {TRAIN: rest, VALIDATION: shared, LOCKED: tuple(sorted(locked))}
    return replace(splits[0], parts={part: ids for part, ids in parts.items() if ids})


def _read_answers(model: Model, ids: Sequence[str]) -> Predictions:
    """A run's stored answers to some of its validation photos.

    Raises:
        BundleError: they are missing, or not this run's.
    """
    stored = read_own_answers(model)
    try:
        chosen = select_predictions(stored, ids)
    except ValueError as error:
        raise BundleError(
            f"{model.run.validation_path} is not of this run's split: {error}; train it anew"
        ) from error
    if chosen.classes != model.card.classes:
        raise BundleError(f"{model.run.validation_path} has other classes than the run's card")
    return chosen
