"""LibMTL's protocol on NYU-v2: 13 classes, depth in metres and normals at 288×384, ResNet-50 from ImageNet, dense.

    python -m lim_jax.main --config=configs/nyu_libmtl.py --config.dataset.source_dir=DIR

`DIR` is the download of MTAN and LibMTL (npy folders); of the other downloads the 40 classes become 13, and frames are
resized here. ImageNet's weights are downloaded once, or given as a file: `--config.model.pretrained=resnet50.pth`.
`--config=configs/nyu_libmtl.py:augmented` adds its optional augmentation; `--config.sparsity.strength=1e-5` (or
`.target=0.5`) makes it sparse, and `--config.loss_weighting=gls` or the like balances it.

| of the protocol | set by |
|---|---|
| 13 classes, 288×384 | dataset.classes=13, dataset.image_size=(288, 384) |
| 795 training images, 654 to test on, no validation | dataset.validation_share=0, early_stopping_patience=0 |
| ResNet-50 with ImageNet's weights | model.backbone=resnet50, model.pretrained=hf:timm/resnet50.tv_in1k |
| dilated to stride 8 as torchvision does | model.dilations=torchvision |
| a DeepLab head per task, 256 channels, no dropout | model.head_channels=256, model.dropout_rate=0 |
| logits resized bilinearly to the image before loss and metrics | loss_resolution=image |
| cross entropy | label_smoothing=0 |
| depth: linear output in metres, absolute error | depth.target=metres, depth.loss=l1, depth.max=0 |
| normals: 1 - cosine | normals.loss=cosine |
| equal weights | loss_weighting=equal |
| Adam, L2 in the gradient | learning_rate=1e-4, weight_decay=1e-5, weight_decay_form=coupled |
| batches of 8, 200 epochs of 99 whole batches | batch_size=8, num_epochs=200 |
| the rate is halved after 100 epochs | learning_rate_schedule=step, step_epochs=100, step_factor=0.5 |
| figures: the test split, mean of the last 10 epochs | eval_every_epochs=1; `test_last_epochs` of results.json |

`:augmented` has augmentation.scales=(1.0, 1.2, 1.5) and crops, with depth divided by the scale
(augmentation.zoomed_depth=divide_depth), and augmentation.horizontal_flip=True.

Not as there: images are normalised by ImageNet's mean and deviation, which its weights were trained with (theirs are
given 0..1 as it is); normals pass a tanh before they become unit; the depth head begins at the median depth; heads are
drawn by Flax's initializers; a batch may span two epochs.

Published beside it (one run; mIoU, pixel accuracy, absolute and relative depth error, normals mean, median, within
11.25, 22.5 and 30°): 54.10 %, 75.78 %, 0.3771 m, 0.1596, 23.53°, 17.20°, 34.55 %, 60.75 %, 72.06 %; in `results.json`
miou, pixel_accuracy_full, abs_err, rel_err, angle_mean, angle_median, within_*. Not yet repeated with lim_jax.
"""

import ml_collections

from lim_jax.configs import common


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; `variant` is empty or "augmented"."""
    if variant not in ("", "augmented"):
        raise ValueError(f"configs/nyu_libmtl.py has no variant {variant!r}; it has augmented")
    config = common.get_config()
    config.dataset.classes = 13
    config.dataset.image_size = (288, 384)
    config.dataset.validation_share = 0.0
    config.model.backbone = "resnet50"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"  # torchvision's weights
    config.model.dilations = "torchvision"
    config.model.head_channels = 256
    config.model.dropout_rate = 0.0
    config.loss_resolution = "image"
    config.label_smoothing = 0.0
    config.depth.target = "metres"
    config.depth.loss = "l1"
    config.depth.max = 0.0
    config.normals.loss = "cosine"
    config.loss_weighting = "equal"
    config.learning_rate = 1e-4
    config.learning_rate_schedule = "step"
    config.step_epochs = 100
    config.step_factor = 0.5
    config.weight_decay = 1e-5
    config.weight_decay_form = "coupled"
    config.batch_size = 8
    config.num_epochs = 200
    config.early_stopping_patience = 0
    config.eval_every_epochs = 1
    if variant == "augmented":
        config.augmentation.scales = (1.0, 1.2, 1.5)
        config.augmentation.zoomed_depth = "divide_depth"
        config.augmentation.horizontal_flip = True
    return config
