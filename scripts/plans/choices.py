"""Rendered rooms: λ or a target, loss at features or images, sums or balanced gradients; 3 seeds, 27 runs.

    python scripts/sweep.py --plan=choices --config=configs/rooms.py --root=DIR
    python scripts/tables.py --root=DIR --metrics=segmentation.miou,normals.angle_mean,depth.rmse

These metrics are at the image's resolution wherever the loss is. The dense runs, and those with a target or the smaller
λ alone, are those of `rooms` and `protocols`.
"""

from plans.combinations import DENSE, strengths, target, targets
from plans.rooms import of_all_tasks

STRENGTHS, TARGETS = (2e-3, 5e-3), (0.5, 0.7)
_SPARSE = target(TARGETS[-1])
_IMAGE = {"loss_resolution": "image"}
_BALANCED = {"loss_weighting": "cagrad"}
SETTINGS = {
    "dense": DENSE,
    **targets(TARGETS),
    **strengths(STRENGTHS),
    "image_dense": {"label": "dense, loss at the image's resolution", **DENSE, **_IMAGE},
    "image_target70": {"label": "target 70 %, loss at the image's resolution", **_SPARSE, **_IMAGE},
    "cagrad_dense": {"label": "dense, CAGrad", **DENSE, **_BALANCED},
    "cagrad_target70": {"label": "target 70 %, CAGrad", **_SPARSE, **_BALANCED},
}
RUNS = of_all_tasks(SETTINGS)
