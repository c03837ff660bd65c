"""Draws the report of a run, running or finished: `python -m lim_jax.report --workdir=DIR`.

Writes to `DIR/report` (or `--output`) what training writes there at its end, curves, groups, speed, predictions, and
what each class is taken for (`confusion_<task>.png`); and `worst_<task>.png`: the images with the largest loss.
"""

import functools
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from lim_jax import shipped
from lim_jax.errors import UserError
from lim_jax.runtime import cli, outputs

logger = logging.getLogger("lim_jax.report")  # also as __main__


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run.")
    flags.DEFINE_string("output", None, "The folder for the figures; default: report in the workdir.")
    flags.DEFINE_integer("worst", 4, "Images to show of each task's worst.", 1)
    flags.DEFINE_string("data_dir", None, "Where the prepared records are; default: where training had them.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    workdir = shipped.workdir(cli.required_path("workdir", cli.TRAINED), written=True)
    output = pathlib.Path(flags.FLAGS.output) if flags.FLAGS.output else workdir / "report"
    files = write(workdir, output, flags.FLAGS.worst, flags.FLAGS.data_dir)
    print(f"{len(files)} figures in {output}: {', '.join(path.name for path in files)}")


def write(workdir: pathlib.Path, output: pathlib.Path, worst: int, data_dir: str | None) -> list[pathlib.Path]:
    """Writes the figures of the best network so far; returns the files.

    Args:
      workdir: of a training run.
      output: the folder, made if needed.
      worst: images to show of each task's worst.
      data_dir: where the prepared records are; None: where training had them.

    Raises:
      UserError: there is no run, it has no history, its data is gone, or the folder cannot be written to.
    """
    from lim_jax import data
    from lim_jax.prediction import evaluation
    from lim_jax.runtime import devices
    from lim_jax.training import checkpoints, results
    from lim_jax.training.workdir import open_trained, with_records

    config, trained = open_trained(workdir)
    meta = checkpoints.latest_meta(workdir)
    if not meta.get("history"):
        raise UserError(f"{workdir} has no epoch to show: give the --workdir of a training run")
    outputs.made(output)
    config = with_records(config, data_dir)
    dataset = data.load(config.dataset, tuple(trained.network.tasks))
    logger.info("measuring the test split")
    evaluator = evaluation.Evaluator(trained.network, devices.fitting(config.num_devices, config.batch_size))
    _, details = evaluator.with_details(trained.variables, evaluation.split_batches(dataset, "test", config))
    layers = results.layers(trained, config, meta)
    files = results.draw_report(output, dataset, meta["history"], trained, layers, details)
    return [*files, *_worst_figures(output, dataset, config, trained, worst)]


def _worst_figures(output: pathlib.Path, dataset: Any, config: Any, trained: Any, worst: int) -> list[pathlib.Path]:
    """Writes the images with the largest loss of each task; returns the files."""
    import numpy as np

    from lim_jax.figures import examples, report
    from lim_jax.prediction import evaluation
    from lim_jax.training import results

    losses = evaluation.example_losses(trained, evaluation.split_batches(dataset, "test", config))
    predict = results.predict_of(trained, dataset)
    written = []
    for task, values in losses.items():
        labelled = np.flatnonzero(~np.isnan(values[: len(dataset.sources["test"])]))
        indices = labelled[np.argsort(-values[labelled])][:worst].tolist()
        if not indices:
            continue
        batch, predictions = results.predicted_examples(dataset, "test", indices, predict)
        titles = [f"test image {index}\n{task} loss {values[index]:.3g}" for index in indices]
        draw = functools.partial(examples.prediction_panel, trained.network.tasks, batch, predictions, titles)
        written.append(report.write(output / f"worst_{task}.png", draw))
    return written


if __name__ == "__main__":
    cli.run(main, define_flags)
