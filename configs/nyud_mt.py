"""The NYUD-MT protocol of ATRC, InvPT and TaskPrompter, with ResNet-50: 40 classes, depth, normals at 425×560, dense.

    python -m lim_jax.main --config=configs/nyud_mt.py --config.dataset.source_dir=DIR

`DIR` is NYUDv2.tar.gz, unpacked; only the chosen tasks' files are needed. ImageNet's weights are downloaded once, or
given as a file: `--config.model.pretrained=resnet50.pth`. `--config.tasks=depth --config.loss_weights=1`
and the like (a weight for each task) train the single-task baselines that Δm is measured by (`python -m
lim_jax.compare`); `--config.sparsity.strength=1e-5` (or `.target=0.5`) makes it sparse.

| of the protocol | set by |
|---|---|
| 40 classes, images at their own size | dataset.classes=40, dataset.image_size=(425, 560) |
| 795 training images, 654 to test on, no validation | dataset.validation_share=0, early_stopping_patience=0 |
| random scale | augmentation.min_scale=0.5, augmentation.max_scale=2 |
| depth divided by the scale, normals as they are | augmentation.zoomed_depth=divide_depth |
| crop, padded where need be | augmentation.crop_size=(448, 576) |
| at most 0.75 of one class in it | augmentation.max_class_share=0.75 |
| flip, photometric distortion | augmentation.horizontal_flip=True, augmentation.photometric_distortion=True |
| padding counts nowhere | always |
| test images padded, scored at their own size | dataset.padded_size=(448, 576) |
| a backbone with ImageNet's weights | model.backbone=resnet50, model.pretrained=hf:timm/resnet50.tv_in1k |
| at stride 8, and heads | model.dilations=torchvision, model.dropout_rate=0 |
| logits resized to the image before loss and metrics | loss_resolution=image |
| cross entropy | label_smoothing=0 |
| depth in metres, absolute error | depth.target=metres, depth.loss=l1 |
| normals, absolute error of unit vectors | normals.loss=l1 |
| weights of segmentation, depth, normals | loss_weighting=fixed, loss_weights=(1.0, 1.0, 10.0) |
| 40,000 iterations, as epochs of 99 batches | batch_size=8, num_epochs=404 |
| Adam, L2 in the gradient | learning_rate=1e-4, weight_decay=1e-6, weight_decay_form=coupled |
| polynomial decay of the rate | learning_rate_schedule=poly, poly_power=0.9 |
| figures: the test split, after the last iteration | eval_every_epochs=404; `test` of results.json |

Not as there: backbones are HRNet-18, ViT or Swin, here ResNet-50, dilated to stride 8 with DeepLab heads without
dropout; the rate and decay of Adam (1e-4, L2 of 1e-6 in the gradient) are ours, since theirs go with their backbones;
object boundaries, their fourth task, are not read; normals pass a tanh before they become unit; the depth head begins
at the median depth; a batch may span two epochs.

Published beside it (mIoU, depth RMSE, normals mean): HRNet-18 multi-task baseline 36.35 %, 0.6248 m, 21.02°; ResNet-50
for one task each, with another recipe, mIoU 43.5 to 44.0 % and 0.614 m. In `results.json` miou, rmse, angle_mean. Not
yet repeated with lim_jax.
"""

import ml_collections

from lim_jax.configs import common


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; there are no variants."""
    if variant:
        raise ValueError(f"configs/nyud_mt.py has no variant {variant!r}")
    config = common.get_config()
    config.tasks = ("segmentation", "depth", "normals")
    config.dataset.classes = 40
    config.dataset.image_size = (425, 560)
    config.dataset.padded_size = (448, 576)
    config.dataset.validation_share = 0.0
    config.augmentation.min_scale = 0.5
    config.augmentation.max_scale = 2.0
    config.augmentation.zoomed_depth = "divide_depth"
    config.augmentation.crop_size = (448, 576)
    config.augmentation.max_class_share = 0.75
    config.augmentation.horizontal_flip = True
    config.augmentation.photometric_distortion = True
    config.model.backbone = "resnet50"
    config.model.pretrained = "hf:timm/resnet50.tv_in1k"  # torchvision's weights
    config.model.dilations = "torchvision"
    config.model.dropout_rate = 0.0
    config.loss_resolution = "image"
    config.label_smoothing = 0.0
    config.depth.target = "metres"
    config.depth.loss = "l1"
    config.normals.loss = "l1"
    config.loss_weighting = "fixed"
    config.loss_weights = (1.0, 1.0, 10.0)
    config.learning_rate = 1e-4
    config.learning_rate_schedule = "poly"
    config.poly_power = 0.9
    config.weight_decay = 1e-6
    config.weight_decay_form = "coupled"
    config.batch_size = 8
    config.num_epochs = 404
    config.early_stopping_patience = 0
    config.eval_every_epochs = 404
    return config
