"""Predicts all tasks for image files: `python -m lim_jax.predict --workdir=DIR --images=a.jpg,b.png --output=DIR`.

`--images` takes files, folders and quoted patterns; images may be of any size and format that OpenCV reads. The
output folder receives, for `a.jpg` and every task, `a_<task>.png` of the image's size (colours alone; an attribute as
text) and `a_panel.png`, everything in one figure with legends; once, `<task>_legend.png`; with `--raw`, `a.npz`: an
array per task, and under `<task>.<...>` what is needed to read it. Of two images with the same stem the second one's
results begin with `a_2`. A compact network's folder is a workdir too.
"""

import logging
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from lim_jax.errors import UserError
from lim_jax.runtime import cli

logger = logging.getLogger("lim_jax.predict")  # also as __main__

NATIVE = "native"
_THREADS = 4  # that read, and as many that draw and write
_AHEAD_BATCHES = 2  # of images kept ready


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run, or of a compact network.")
    flags.DEFINE_list("images", [], "Files, folders, and patterns in quotes ('photos/*.jpg'), separated by commas.")
    flags.DEFINE_string("output", None, "The folder for the results; made if needed.")
    flags.DEFINE_string(
        "image_size",
        None,
        "What the network sees: HEIGHT,WIDTH to which images are resized, or native for their own size; default: as "
        "in training.",
    )
    flags.DEFINE_integer("batch_size", 8, "Images that the network sees at once, at most.", 1)
    flags.DEFINE_bool("raw", False, "Also write the predictions as numbers, an npz file per image.")
    flags.DEFINE_bool("panel", True, "Write a figure per image with all tasks and legends.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    values = flags.FLAGS
    predict_files(
        cli.required_path("workdir", cli.TRAINED),
        values.images,
        cli.required_path("output", "DIR, a folder for the results"),
        image_size=values.image_size,
        batch_size=values.batch_size,
        raw=values.raw,
        panel=values.panel,
    )


def predict_files(
    workdir: pathlib.Path,
    images: Sequence[str],
    output: pathlib.Path,
    *,
    image_size: str | None = None,
    batch_size: int = 8,
    raw: bool = False,
    panel: bool = True,
) -> int:
    """Predicts for image files and writes the results; see the module for what they are.

    Args:
      workdir: of a training run or a compact network.
      images: files, folders and patterns.
      output: made if needed; earlier results are replaced.
      image_size: what the network sees: "HEIGHT,WIDTH", "native", or None for the size in training.
      batch_size: images that the network sees at once, at most.
      raw: write npz files.
      panel: write panels.

    Returns:
      The number of images predicted.

    Raises:
      UserError: no image can be read, or the arguments make no sense.
    """
    from lim_jax.prediction import image_files

    paths, problems = image_files.find(images)
    if not paths:
        problem = problems[0] if problems else "no images"
        raise UserError(f"{problem}: add --images=a.jpg,b.png (files, folders or patterns in quotes)")
    _make_output(output, images)
    from lim_jax.prediction import predictor as prediction
    from lim_jax.prediction import writer as prediction_writer
    from lim_jax.training.workdir import open_trained

    config, trained = open_trained(workdir)
    size = _network_size(image_size, config)
    predictor = prediction.Predictor(trained.network, trained.variables, size, batch_size)
    shown = "their own size" if size is None else "{}×{}".format(*size)
    logger.info("predicting %d images; the network sees them at %s", len(paths), shown)
    with prediction_writer.Writer(output, trained.network.tasks, paths, raw, panel, _THREADS) as writer:
        predicted = _predict(predictor, paths, writer, problems)
    if not predicted:
        raise UserError(f"none of the images can be read: {problems[0]}")
    for problem in problems:
        logger.warning("skipped: %s", problem)
    print(f"{predicted} images predicted, {len(problems)} skipped; the results are in {output}")
    return predicted


def _make_output(output: pathlib.Path, images: Sequence[str]) -> None:
    if output.is_dir() and any(pathlib.Path(name).is_dir() and output.samefile(name) for name in images):
        raise UserError(f"{output} is also a folder of --images: give another --output")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {output} ({error.strerror}): give another --output") from error
    if not os.access(output, os.W_OK):
        raise UserError(f"cannot write to {output} (no permission): give another --output")


def _network_size(text: str | None, settings: Any) -> tuple[int, int] | None:
    if text is None:
        return tuple(settings.dataset.image_size)
    if text == NATIVE:
        return None
    size = cli.height_and_width(text)
    if size is None:
        smallest = cli.SMALLEST_SIDE
        raise UserError(f"--image_size={text} must be {NATIVE}, or HEIGHT,WIDTH of at least {smallest} pixels")
    return size


def _predict(predictor: Any, paths: Sequence[pathlib.Path], writer: Any, problems: list[str]) -> int:
    """Reads, predicts and writes all images, at the same time; returns how many, and adds to `problems` who failed."""
    import jax

    from lim_jax.runtime import progress

    unfound, predicted = len(problems), 0
    speed = progress.Progress(1, len(paths), 1)
    try:
        for (path, image), prediction in predictor.stream(_inputs(predictor, paths, problems)):
            writer.write(path, image, prediction)
            predicted += 1
            if speed.step_done(predicted + len(problems) - unfound):
                logger.info("%d of %d images, %s", predicted, len(paths), speed.line())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError("out of memory: lower --batch_size, or give --image_size=HEIGHT,WIDTH") from error
    return predicted


def _inputs(predictor: Any, paths: Sequence[pathlib.Path], problems: list[str]) -> Iterator[Any]:
    """Reads images ahead; yields ((path, what a panel shows of it), what the network sees); adds to `problems`."""
    import cv2

    from lim_jax.data.sources import files
    from lim_jax.figures import pictures
    from lim_jax.prediction import image_files

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what cannot be read is reported here

    def read(path: pathlib.Path) -> Any:
        image = files.read_image(path)
        return predictor.prepare(image), pictures.reduced(image)

    ahead = max(_AHEAD_BATCHES * predictor.batch_size, _THREADS)
    for path, future in image_files.read_ahead(read, paths, _THREADS, ahead, image_files.pixels):
        try:
            item, image = future.result()
        except UserError as error:
            problems.append(str(error))
            continue
        yield (path, image), item


if __name__ == "__main__":
    cli.run(main, define_flags)
