"""Lite0 in Keras, in the style of its guide and of the competition's best-known notebooks.

    pip install tensorflow-cpu==2.21.0 pillow safetensors
    python benchmarks/peers/keras_style_peer.py LAID OUT --seed 0

By https://keras.io/guides/transfer_learning/ : a new head on the frozen network with Adam at 1e-3,
then fine-tuning at ever lower rates, batch normalisation in inference mode all the while. Between
them half of the network is let go, as the competition's notebooks do; the best weights by
validation go from phase to phase (https://keras.io/api/callbacks/). Augmentation is by layers
(https://keras.io/guides/preprocessing_layers/): flip, rotate, shift, zoom, brightness; a photo's
answer is the mean over ten augmented views. Photos are squeezed to the size of lotlens' recipe
`standard`. To choose among --lr 1e-4 (then 1e-5, as the guide has it) and 1e-3 (then 1e-4), look at
validation_accuracy in timing.json, not at the test part.
"""

from __future__ import annotations

import os
from pathlib import Path

from common import list_photos, read_options, time_call, write_outputs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
HEIGHT, WIDTH, BATCH = 192, 288, 16
NUM_VIEWS = 10
# Share of the network's layers that learn, and epochs at most (early stopping may end it); the
# whole takes several times as long as lotlens' recipe `standard`.
PHASES = ((0.0, 15), (0.5, 12), (1.0, 8))


def main() -> None:
    """Train, predict, and write what measure.py reads."""
    options = read_options(__doc__.splitlines()[0], lr=1e-4)
    rates = (1e-3, options.lr, options.lr / 10)
    import keras
    import numpy as np
    from keras import layers
    from lite0_keras import build_lite0

    keras.utils.set_random_seed(options.seed)
    best = options.out / "best.weights.h5"

    def build_augmentation() -> keras.Sequential:
        return keras.Sequential(
            [
                layers.RandomFlip("horizontal"),
                layers.RandomRotation(10 / 360),
                layers.RandomTranslation(0.1, 0.1),
                layers.RandomZoom(0.1),
                layers.RandomBrightness(0.2),
            ]
        )

    def open_photos(part: str, *, labels: str | None):
        return keras.utils.image_dataset_from_directory(
            options.laid / part,
            labels=labels,
            label_mode="int" if labels else None,
            image_size=(HEIGHT, WIDTH),
            batch_size=BATCH,
            shuffle=part == "train",
            seed=options.seed,
        )

    def train() -> tuple[keras.Model, list[str], float]:
        learnt = open_photos("train", labels="inferred")
        augmented = learnt.map(lambda x, y: (augment(x, training=True), y)).prefetch(2)
        checked = open_photos("valid", labels="inferred")
        network = build_lite0(options.laid, HEIGHT, WIDTH)
        pixels = keras.Input((HEIGHT, WIDTH, 3))
        x = network(layers.Rescaling(1 / 127.5, offset=-1)(pixels), training=False)
        x = layers.Dropout(0.25)(layers.Dense(128, activation="relu")(x))
        model = keras.Model(pixels, layers.Dense(len(learnt.class_names), "softmax")(x))
        # One of them over all phases, so that a phase that only harms leaves no trace.
        checkpoint = keras.callbacks.ModelCheckpoint(
            best, "val_accuracy", mode="max", save_best_only=True, save_weights_only=True
        )
        for (share, num_epochs), rate in zip(PHASES, rates, strict=True):
            network.trainable = True
            for layer in network.layers[: round((1 - share) * len(network.layers))]:
                layer.trainable = False
            model.compile(
                keras.optimizers.Adam(rate),
                "sparse_categorical_crossentropy",
                metrics=["accuracy"],
            )
            model.fit(
                augmented,
                validation_data=checked,
                epochs=min(num_epochs, options.epochs or num_epochs),
                verbose=2,
                callbacks=[
                    checkpoint,
                    keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.3, patience=2),
                    keras.callbacks.EarlyStopping("val_loss", patience=4),
                ],
            )
            model.load_weights(best)
        return model, learnt.class_names, model.evaluate(checked, verbose=0)[1]

    def predict(model: keras.Model) -> tuple[list[Path], np.ndarray]:
        photos = open_photos("test", labels=None)
        views = photos.map(lambda x: augment(x, training=True))
        answers = [model.predict(views, verbose=0) for _ in range(NUM_VIEWS)]
        return [Path(path) for path in photos.file_paths], np.mean(answers, axis=0)

    augment = build_augmentation()
    (model, classes, accuracy), train_s = time_call(train)
    (photos, probabilities), predict_s = time_call(lambda: predict(model))
    assert photos == list_photos(options.laid / "test")
    write_outputs(
        options.out,
        photos,
        classes,
        probabilities,
        train_s=train_s,
        predict_s=predict_s,
        validation_accuracy=accuracy,
    )


if __name__ == "__main__":
    main()
