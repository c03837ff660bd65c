"""Real faces on a small machine: segmentation with and without attributes, dense and at two targets, 5 seeds; 70 runs.

    python scripts/faces_folder.py --maps=MAPS --celeba=CELEBA --output=FACES
    python scripts/sweep.py --plan=faces --config=folder --root=DIR -- --config.dataset.source_dir=FACES

Of some 700 faces 560 are trained on, and scored after a fixed number of epochs. The few that a validation split could
have would choose one of the first epochs for a dense network, whose losses rise while its metrics still do, but none
before the target is reached for a sparse one. An open mouth is told by the label maps, male and smiling by
CelebAMask-HQ for the few that come from there. These two alone are trained densely only, for Δm; their epochs have a
fifth of the images, so there are five times as many of them, and all runs have about 630 steps. Sparse and dense runs
have the same optimizer.
"""

from plans.combinations import runs, targets

SEEDS = range(5)
EPOCHS, FEWER_IMAGES = 18, 5
SIZE = {
    "dataset.image_size": (64, 64),
    "dataset.validation_share": 0.0,
    "model.width_multiplier": 0.25,
    "model.head": "deeplabv3plus",
    "model.head_channels": 128,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "cosine",
    "augmentation.horizontal_flip": True,
    "early_stopping_patience": 0,
    "report_every_epochs": 0,
}
COMBINATIONS = (
    ("segmentation",),
    ("mouth_open",),
    ("segmentation", "mouth_open"),
    ("segmentation", "male", "smiling"),
)
FEW = {
    "num_epochs": EPOCHS * FEWER_IMAGES,
    "eval_every_epochs": FEWER_IMAGES,
    "checkpoint_every_epochs": FEWER_IMAGES,
}

_many = runs(COMBINATIONS, targets((0.0, 0.5, 0.7)), SEEDS)
_few = runs((("male",), ("smiling",)), targets((0.0,)), SEEDS)
RUNS = {name: {**SIZE, "num_epochs": EPOCHS, **overrides} for name, overrides in _many.items()} | {
    name: {**SIZE, **FEW, **overrides} for name, overrides in _few.items()
}
