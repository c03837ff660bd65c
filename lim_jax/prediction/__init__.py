"""What a trained network says: evaluation on a split, prediction for images.

    Predictor(network, variables, image_size)          arrays in, arrays out, any size; `predictor`
    Writer(output, tasks, paths, raw, panel, threads)  predictions to PNG and npz files; `writer`
    Evaluator(network, local_devices)                  loss and metrics on a split; `evaluation`
    baseline(network, train, test, local_devices)      those of the best prediction that ignores the image
    split_batches(dataset, split, config)              what both are measured on

`image_files` finds the images that a user names and reads them ahead, `videos` reads and writes frames, and `tables`
says what the files of a prediction mean. Names are imported when they are first asked for: predicting needs neither a
data set nor TensorFlow.
"""

from typing import TYPE_CHECKING

from lim_jax.runtime import lazy

if TYPE_CHECKING:
    from lim_jax.prediction.evaluation import Evaluator, baseline, split_batches
    from lim_jax.prediction.predictor import Predictor
    from lim_jax.prediction.writer import Writer

__all__ = [
    "Evaluator",
    "Predictor",
    "Writer",
    "baseline",
    "split_batches",
]

__getattr__ = lazy.offering(
    __name__,
    {
        "Evaluator": "evaluation",
        "Predictor": "predictor",
        "Writer": "writer",
        "baseline": "evaluation",
        "split_batches": "evaluation",
    },
)
