"""Figures and pictures: plain data in, matplotlib figures and PNG files out.

    write_report(directory, ...)      all figures of a run; `report`
    write_compaction(path, content)   the figure of a compaction
    loss_curves, metric_curves, sparsity_curves, speed_curves        of a run's history; `curves`
    groups_per_layer, compaction_panel                               a network layer by layer; `compaction`
    prediction_panel, target_panel                                   examples; `examples`
    confusion_matrix                                                 which class is taken for which; `confusion`

`style` is how they all look: draw within `style.context()`. `pictures` composes predictions for image files as arrays;
`color_keys`, and `pictures` for its own, draw what colours mean; `regions` finds where names of classes fit; `tables`
writes results as text. Names are imported when they are first asked for.
"""

from typing import TYPE_CHECKING

from lim_jax.runtime import lazy

if TYPE_CHECKING:
    from lim_jax.figures.compaction import compaction_panel, groups_per_layer
    from lim_jax.figures.confusion import confusion_matrix
    from lim_jax.figures.curves import loss_curves, metric_curves, sparsity_curves, speed_curves
    from lim_jax.figures.examples import prediction_panel, target_panel
    from lim_jax.figures.report import write_compaction, write_report

__all__ = [
    "compaction_panel",
    "confusion_matrix",
    "groups_per_layer",
    "loss_curves",
    "metric_curves",
    "prediction_panel",
    "sparsity_curves",
    "speed_curves",
    "target_panel",
    "write_compaction",
    "write_report",
]

__getattr__ = lazy.offering(
    __name__,
    {
        "compaction_panel": "compaction",
        "confusion_matrix": "confusion",
        "groups_per_layer": "compaction",
        "loss_curves": "curves",
        "metric_curves": "curves",
        "prediction_panel": "examples",
        "sparsity_curves": "curves",
        "speed_curves": "curves",
        "target_panel": "examples",
        "write_compaction": "report",
        "write_report": "report",
    },
)
