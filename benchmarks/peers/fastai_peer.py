"""fastai's best documented way with lite0: a peer of lotlens.

    pip install torch==2.13.0 torchvision==0.28.0 fastai==2.8.12 timm==1.0.31 safetensors
    python benchmarks/peers/fastai_peer.py LAID OUT --seed 0

As fastai's author takes it to a competition of photos ("First steps: Road to the Top", parts 1 to
3, https://www.kaggle.com/code/jhoward/first-steps-road-to-the-top-part-1): a timm network, photos
squeezed to one rectangle ("squish"), presizing with `aug_transforms` of min_scale 0.75
(https://docs.fast.ai/vision.augment), twelve epochs of `fine_tune` at a rate of 0.01 in batches of
64 (https://docs.fast.ai/callback.schedule), and `learn.tta` (https://docs.fast.ai/learner). The
size is that of lotlens' recipe `standard`.

Not used, since its book advises against them here (chapter 7,
https://github.com/fastai/fastbook/blob/master/07_sizing_and_tta.ipynb): "for transfer learning,
progressive resizing may actually hurt performance", and MixUp is for trainings of more than eighty
epochs. Mixed precision is for GPUs. To choose among --lr 0.01 and 0.002 (fine_tune's own default)
or batches, look at validation_accuracy in timing.json, not at the test part.
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

# After one of the head alone, as in "Road to the Top". In fp32 this may take longer than lotlens'
# recipe `standard`; --epochs gives fewer for a row of the same time.
NUM_EPOCHS = 12


def main() -> None:
    """Train, predict, and write what measure.py reads."""
    options = read_options(__doc__.splitlines()[0], lr=0.01, batch_size=64)
    use_laid_weights(options.laid)
    mend_torchvision()
    import torch
    from fastai.vision import all as fv

    fv.set_seed(options.seed, reproducible=True)
    num_epochs = min(NUM_EPOCHS, options.epochs or NUM_EPOCHS)

    def train() -> fv.Learner:
        dls = fv.ImageDataLoaders.from_folder(
            options.laid,
            train="train",
            valid="valid",
            seed=options.seed,
            bs=options.batch_size,
            item_tfms=fv.Resize((256, 384), method="squish"),
            batch_tfms=fv.aug_transforms(size=(192, 288), min_scale=0.75),
        )
        learn = fv.vision_learner(dls, NETWORK, metrics=fv.accuracy)
        check_weights(learn.model[0].model.state_dict(), options.laid)
        learn.fine_tune(num_epochs, options.lr)
        return learn

    def predict(learn: fv.Learner, photos: list[Path]) -> torch.Tensor:
        return learn.tta(dl=learn.dls.test_dl(photos))[0]

    learn, train_s = time_call(train)
    photos = list_photos(options.laid / "test")
    probabilities, predict_s = time_call(lambda: predict(learn, photos))
    write_outputs(
        options.out,
        photos,
        list(learn.dls.vocab),
        probabilities.tolist(),
        train_s=train_s,
        predict_s=predict_s,
        validation_accuracy=float(learn.validate()[1]),
    )


if __name__ == "__main__":
    main()
