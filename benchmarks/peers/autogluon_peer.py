"""AutoGluon's MultiModalPredictor with lite0: a peer of lotlens.

    pip install torch==2.13.0 torchvision==0.28.0 autogluon.multimodal==1.6.3
    python benchmarks/peers/autogluon_peer.py LAID OUT --seed 0

By https://auto.gluon.ai/stable/tutorials/multimodal/image_prediction/beginner_image_cls.html, with
the network named as in .../multimodal/advanced_topics/customization.html (`model.names`,
`model.timm_image.checkpoint_name`), and all else as its preset has it: AdamW at 1e-4 with layerwise
decay, batches of 128, twenty epochs at most, TrivialAugment on a square crop from the middle, and
a greedy soup of the three best checkpoints. The preset's own network is a transformer of 99 million
parameters. Rate, batch and transforms are those that one might change for another network; its
search (.../multimodal/advanced_topics/hyperparameter_optimization.html) tries rates of 1e-5 to 1e-2
and batches of 16 to 256. To choose among them, look at validation_accuracy in timing.json, not at
the test part.
"""

from __future__ import annotations

from pathlib import Path

from common import (
    NETWORK,
    check_weights,
    list_photos,
    mend_torchvision,
    read_options,
    time_call,
    use_laid_weights,
    write_outputs,
)

NUM_EPOCHS = 20  # the preset's


def main() -> None:
    """Train, predict, and write what measure.py reads."""
    options = read_options(
        __doc__.splitlines()[0], lr=1e-4, batch_size=128, fit="resize_shorter_side"
    )
    use_laid_weights(options.laid)
    mend_torchvision()
    import pandas as pd
    import timm
    from autogluon.multimodal import MultiModalPredictor

    # The call that AutoGluon makes
    check_weights(timm.create_model(NETWORK, pretrained=True).state_dict(), options.laid)
    folder = options.out / "model"
    if folder.exists():
        raise SystemExit(f"{folder} is there already")

    def list_labelled(part: str) -> pd.DataFrame:
        photos = list_photos(options.laid / part)
        labels = [photo.parent.name for photo in photos]
        return pd.DataFrame({"image": [str(photo) for photo in photos], "label": labels})

    def train() -> MultiModalPredictor:
        fit = [options.fit] if options.fit == "resize_to_square" else [options.fit, "center_crop"]
        hyperparameters = {
            "model.names": ["timm_image"],
            "model.timm_image.checkpoint_name": NETWORK,
            "model.timm_image.train_transforms": [*fit, "trivial_augment"],
            "model.timm_image.val_transforms": fit,
            "optim.lr": options.lr,
            "optim.max_epochs": min(NUM_EPOCHS, options.epochs or NUM_EPOCHS),
            "env.batch_size": options.batch_size,
        }
        predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=str(folder))
        predictor.fit(
            list_labelled("train"),
            tuning_data=list_labelled("valid"),
            hyperparameters=hyperparameters,
            seed=options.seed,
        )
        return predictor

    def predict(predictor: MultiModalPredictor, photos: list[Path]) -> pd.DataFrame:
        return predictor.predict_proba(pd.DataFrame({"image": [str(photo) for photo in photos]}))

    predictor, train_s = time_call(train)
    photos = list_photos(options.laid / "test")
    answers, predict_s = time_call(lambda: predict(predictor, photos))
    write_outputs(
        options.out,
        photos,
        [str(label) for label in answers.columns],
        answers.to_numpy(),
        train_s=train_s,
        predict_s=predict_s,
        validation_accuracy=predictor.evaluate(list_labelled("valid"), ["accuracy"])["accuracy"],
    )


if __name__ == "__main__":
    main()
