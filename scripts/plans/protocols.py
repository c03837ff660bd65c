"""Rendered rooms: the habits of the paper's code against the sound protocol, 3 seeds; 21 runs.

    python scripts/sweep.py --plan=protocols --config=configs/rooms.py --root=DIR

The paper's code trains dense networks with L2 in Adam's gradient, sparse ones with decoupled weight decay. The plan
has either protocol with each of the two for dense networks, so that what this costs them stands by itself.
`published.reset_optimizer_every_epoch` allows no target, and prunes more at the same λ: two of them.
"""

from collections.abc import Iterable

from sweeps.rows import strength_text

from plans.combinations import DENSE, Overrides
from plans.rooms import of_all_tasks

STRENGTH, PUBLISHED_STRENGTHS = 2e-3, (2e-4, 2e-3)

# What `as_published` in configs/common.py sets.
PUBLISHED = {
    "loss_weighting": "uniform",
    "learning_rate_schedule": "constant",
    "sparsity.bias_corrected": False,
    "published.reset_optimizer_every_epoch": True,
    "published.coupled_weight_decay_when_dense": True,
    "published.double_sigmoid": True,
}
_COUPLED = "published.coupled_weight_decay_when_dense"


def settings(strength: float, published: Iterable[float]) -> dict[str, Overrides]:
    """Returns the rows: dense with either regulariser and sparse at λ, in the sound protocol and as published."""
    return {
        "dense": {"label": "sound: dense", **DENSE},
        "dense_l2": {"label": "sound, but dense with L2 in the gradient", **DENSE, _COUPLED: True},
        f"lambda{strength_text(strength)}": {
            "label": f"sound: λ = {strength_text(strength)}",
            "sparsity.strength": strength,
        },
        "published_dense": {"label": "as published: dense", **DENSE, **PUBLISHED},
        "published_dense_decoupled": {
            "label": "as published, but dense with the sparse networks' optimizer",
            **DENSE,
            **PUBLISHED,
            _COUPLED: False,
        },
        **{
            f"published_lambda{strength_text(value)}": {
                "label": f"as published: λ = {strength_text(value)}",
                "sparsity.strength": value,
                **PUBLISHED,
            }
            for value in published
        },
    }


RUNS = of_all_tasks(settings(STRENGTH, PUBLISHED_STRENGTHS))
