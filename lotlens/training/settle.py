"""What a trained model settles on validation: views, temperature, and when it gives no name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from lotlens.answering.answers import join_predictions, save_predictions
from lotlens.answering.predict import predict_views
from lotlens.answering.views import WHOLE, average_views
from lotlens.deliver.own_data import Sides
from lotlens.extras import import_vision
from lotlens.judge.judged import calibrate
from lotlens.judge.metrics import align_targets
from lotlens.judge.tta import Choice, choose_views
from lotlens.records import CarLocator, Catalog, ModelCard, Predictions, Watcher, watch_part
from lotlens.refusal.familiarity import Reference, encode_references
from lotlens.refusal.gates import learn_refusal
from lotlens.refusal.strangers import (
    learn_vehicle,
    meet_known,
    meet_made,
    meet_others,
    remember_photos,
)
from lotlens.run import RunFolder
from lotlens.training.others import Others

if TYPE_CHECKING:
    from lotlens.vision.classifier import Network


def answer_views(
    members: Sequence[Network],
    card: ModelCard,
    sides: Sides,
    catalog: Catalog,
    names: Sequence[str],
    locate: CarLocator | None,
    watch: Watcher | None,
) -> dict[str, Predictions]:
    """View -> answers to the photos held out, each by the member that has not seen it.

    `locate` finds the car, where the card says that it is found first.
    """
    predictor = import_vision("predictor")
    by_view: dict[str, list[Predictions]] = {name: [] for name in names}
    for member, (_, held_out) in zip(members, sides, strict=True):
        found = predict_views(
            predictor.ClassifierPredictor(
                member, card, num_photos=len(names) * len(held_out), locate=locate
            ),
            catalog.select(held_out),
            views=names,
            keep_features=True,
            progress=watch_part(watch, "choosing views"),
        )
        for name in names:
            by_view[name].append(found[name])
    return {name: join_predictions(parts) for name, parts in by_view.items()}


def settle(
    card: ModelCard, by_view: Mapping[str, Predictions], catalog: Catalog
) -> tuple[ModelCard, Predictions, Choice]:
    """Let validation choose views, then all that depends on the answers that they give."""
    plain = by_view[WHOLE]
    logits = {name: found.logits for name, found in by_view.items()}
    choice = choose_views(logits, align_targets(plain, catalog))
    answers = average_views([logits[name] for name in choice.views])
    predictions = replace(plain, logits=answers)
    return calibrate(replace(card, views=choice.views), predictions, catalog), predictions, choice


def teach_refusal(
    run: RunFolder,
    card: ModelCard,
    network: Network,
    members: Sequence[Network],
    sides: Sides,
    predictions: Predictions,
    catalog: Catalog,
    others: Others,
    locate: CarLocator | None,
    watch: Watcher | None,
) -> tuple[ModelCard, Predictions]:
    """The card with gates, and validation's answers with what they rest on.

    Args:
        run: where what is remembered of training photos goes.
        card: with views and temperature.
        network: what answers: the one member, or the ensemble of all.
        members: single models, each with its side of the split.
        sides: ids learnt and ids held out of each.
        predictions: answers to the photos held out, side after side.
        catalog: holds all these photos.
        others: photos of other cars; there may be none.
        locate: finds the car in photos, where the card says that it is found first.
        watch: told of the work as it goes on.
    """
    build = partial(import_vision("predictor").ClassifierPredictor, locate=locate)
    asked = replace(card, refusal=None)  # one of before has words of features that may be others'
    references: list[Reference] = []
    known: list[Predictions] = []
    for member, (kept, held_out) in zip(members, sides, strict=True):
        answering = build(member, asked, num_photos=len(kept))
        told = watch_part(watch, "noting what known cars look like")
        remembered = remember_photos(answering, catalog.select(kept), progress=told)
        if remembered is None:
            return card, predictions
        references.append(remembered)
        own = catalog.select(held_out)
        known.append(meet_known(answering, remembered, own, is_member=len(members) > 1))
    predictions = replace(predictions, familiarity=join_predictions(known).familiarity)
    sha256 = run.write_references(encode_references(references))
    learnt = dict.fromkeys(id_ for kept, _ in sides for id_ in kept)
    other_cars = meet_others(
        build(network, asked, num_photos=len(others.held_out) + len(others.no_cars)),
        references,
        others.held_out,
        others.no_cars,
        progress=watch_part(watch, "trying other cars"),
    )
    for one in other_cars:
        if one.group == "unknown":
            save_predictions(run.others_answers_path, one.predictions)
    made = meet_made(
        build(network, asked),
        references,
        catalog.select(list(learnt)).photos,
        progress=watch_part(watch, "trying pictures of no car"),
    )
    strangers = (*other_cars, *made)
    targets = align_targets(predictions, catalog)
    refusal = learn_refusal(
        predictions, targets, card.temperature, strangers, references_sha256=sha256
    )
    open_shown = import_vision("imagenet").find_shown()
    refusal, predictions = learn_vehicle(
        refusal, predictions, catalog, card.temperature, strangers, open_shown
    )
    return replace(card, refusal=refusal), predictions
