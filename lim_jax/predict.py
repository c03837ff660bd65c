"""Predicts all tasks for images and videos: `python -m lim_jax.predict --workdir=DIR --images=a.jpg,b --output=DIR`.

`--images` takes image files, folders (with the folders inside them), quoted patterns, and video files; `--camera=0
--frames=100` takes frames of a camera. Images may be of any size and format that OpenCV reads. A compact network's
folder is a workdir too. The output folder receives

    card.json                     what the files mean: classes, units, scales
    predictions.csv, .jsonl       a row per image: where it came from, and the answer to every attribute
    a_<segmentation>.png          class indices, with a palette, so that it looks like a picture
    a_<depth>.png, _16bit.png     in colour; and as numbers of 16 bits, whose scale is in the card
    a_<normals>.png               in colour, which holds the numbers
    a_overlay.png, a_panel.png    the segmentation laid over the image; everything in one figure with legends
    <task>_legend.png             what colours mean
    a.npz                         with --raw: an array per task, and under `<task>.<...>` what is needed to read it
    v_predictions.mp4             of a video `v`: frames with their predictions; .csv and .jsonl, a row each

Of two images, or videos, with the same stem the second one's results begin with `a_2`.
"""

import logging
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from lim_jax import shipped
from lim_jax.errors import UserError
from lim_jax.runtime import cli, outputs

logger = logging.getLogger("lim_jax.predict")  # also as __main__

NATIVE = "native"
_THREADS = 4  # that read, and as many that draw and write
_AHEAD_BATCHES = 2  # of images kept ready


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run or of a compact network, or shipped:rooms.")
    flags.DEFINE_list(
        "images", [], "Images, videos, folders, and patterns in quotes ('photos/*.jpg'), separated by commas."
    )
    flags.DEFINE_integer("camera", None, "Instead of images: a camera, by its number; 0 is the first.", 0)
    flags.DEFINE_integer("frames", 100, "Frames to take from a camera; those of a video are all taken.", 1)
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
    flags.DEFINE_bool("overlay", True, "Write the segmentation laid over each image.")
    flags.DEFINE_bool("quiet", False, "Say nothing but what goes wrong.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    values = flags.FLAGS
    workdir = shipped.workdir(cli.required_path("workdir", cli.TRAINED))
    output = cli.required_path("output", "DIR, a folder for the results")
    if values.quiet:
        logging.getLogger("lim_jax").setLevel(logging.WARNING)
    if values.camera is not None and values.images:
        raise UserError("--camera and --images are both given: choose one of them")
    clips, images = ([values.camera], []) if values.camera is not None else _split(values.images)
    if clips:
        most = values.frames if values.camera is not None else 0
        for said in predict_frames(workdir, clips, output, most, image_size=values.image_size):
            if not values.quiet:
                print(said)
    if images or not clips:
        predict_files(
            workdir,
            images,
            output,
            image_size=values.image_size,
            batch_size=values.batch_size,
            raw=values.raw,
            panel=values.panel,
            overlay=values.overlay,
            quiet=values.quiet,
        )


def _split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the videos and the others."""
    from lim_jax.prediction import videos

    clips = [name for name in names if pathlib.Path(name).suffix.lower() in videos.SUFFIXES]
    return clips, [name for name in names if name not in clips]


def predict_frames(
    workdir: pathlib.Path,
    sources: Sequence[str | int],
    output: pathlib.Path,
    most: int = 0,
    *,
    image_size: str | None = None,
) -> Iterator[str]:
    """Predicts for the frames of video files or cameras, and writes them with their predictions.

    Args:
      workdir: of a training run or a compact network.
      sources: the files, or the numbers of cameras.
      output: made if needed; earlier results are replaced.
      most: frames of each, at most; 0: all that there are.
      image_size: what the network sees, as in `predict_files`.

    Yields:
      After each source what was done, in words.

    Raises:
      UserError: one cannot be read, or there is no network.
    """
    from lim_jax.prediction import image_files, tables, videos
    from lim_jax.prediction.writer import write_legends

    opened = [videos.opened(source) for source in sources]
    _make_output(output, [])
    predictor, trained = _predictor(workdir, image_size, 1)
    tables.write_card(output, trained.network.tasks, _origin(workdir, trained))
    write_legends(output, trained.network.tasks)
    endings = [f"_predictions{ending}" for ending in (".mp4", ".csv", ".jsonl")]
    names = image_files.result_names([video.path for video in opened], output, endings)
    for video, name in zip(opened, names, strict=True):
        yield _predict_video(predictor, video, most, output, f"{name}_predictions")


def _predict_video(predictor: Any, video: Any, most: int, output: pathlib.Path, name: str) -> str:
    """Predicts for one video and writes `<name>.mp4` and tables; returns what was done, in words."""
    from lim_jax.prediction import tables, videos

    number, tasks = video.number if most == 0 else most, predictor.network.tasks
    shown = "frames" if number is None else f"{number} frames"
    logger.info("%s: %s at %.3g frames per second", video.path.stem, shown, video.rate)
    rows, path, started = [], output / f"{name}.mp4", time.monotonic()
    with videos.Strip(path, tasks, video.rate) as strip:
        for frame, prediction in videos.predicted(predictor, video, most):
            strip.write(frame, prediction)
            where = {"video": str(video.source), "frame": len(rows), "seconds": round(len(rows) / video.rate, 3)}
            rows.append(tables.row(tasks, where, prediction))
    if not rows:
        raise UserError(f"{video.path.name} has no frame that can be read")
    tables.write(output, rows, name)
    rate = len(rows) / (time.monotonic() - started)
    return f"{len(rows)} frames predicted, {rate:.3g} per second (the video has {video.rate:.3g}); {path}"


def predict_files(
    workdir: pathlib.Path,
    images: Sequence[str],
    output: pathlib.Path,
    *,
    image_size: str | None = None,
    batch_size: int = 8,
    raw: bool = False,
    panel: bool = True,
    overlay: bool = True,
    quiet: bool = False,
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
      overlay: write overlays.
      quiet: say nothing but what goes wrong.

    Returns:
      The number of images predicted.

    Raises:
      UserError: no image can be read, or the arguments make no sense.
    """
    from lim_jax.prediction import image_files

    paths, problems = image_files.find(images, output)
    if not paths:
        problem = problems[0] if problems else "no images"
        raise UserError(f"{problem}: add --images=a.jpg,b.png (files, folders or patterns in quotes)")
    _make_output(output, images)
    from lim_jax.prediction import tables
    from lim_jax.prediction import writer as prediction_writer

    predictor, trained = _predictor(workdir, image_size, batch_size)
    tasks = trained.network.tasks
    tables.write_card(output, tasks, _origin(workdir, trained))
    size = predictor.image_size
    shown = "native size" if size is None else "{}×{}".format(*size)
    logger.info("predicting %s at %s", _images(len(paths)), shown)
    with prediction_writer.Writer(output, tasks, paths, raw, panel, _THREADS, overlay) as writer:
        predicted = _predict(predictor, paths, writer, problems, bar=not quiet)
    if not predicted:
        raise UserError(f"none of the images can be read: {problems[0]}")
    for problem in problems:
        logger.warning("skipped: %s", problem)
    if not quiet:
        print(f"{_images(predicted)} predicted, {len(problems)} skipped; the results are in {output}")
    return predicted


def _predictor(workdir: pathlib.Path, image_size: str | None, batch_size: int) -> tuple[Any, Any]:
    """Returns a predictor with the best network of a workdir, and the network."""
    from lim_jax.prediction import predictor as prediction
    from lim_jax.training.workdir import open_trained

    config, trained = open_trained(workdir)
    size = _network_size(image_size, config)
    return prediction.Predictor(trained.network, trained.variables, size, batch_size), trained


def _origin(workdir: pathlib.Path, trained: Any) -> dict[str, Any]:
    return {"workdir": str(workdir), "step": trained.step, "epoch": trained.epoch}


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def _make_output(output: pathlib.Path, images: Sequence[str]) -> None:
    if output.is_dir() and any(pathlib.Path(name).is_dir() and output.samefile(name) for name in images):
        raise UserError(f"{output} is also a folder of --images: give another --output")
    outputs.made(output)


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


def _predict(predictor: Any, paths: Sequence[pathlib.Path], writer: Any, problems: list[str], bar: bool) -> int:
    """Reads, predicts and writes all images, at the same time; returns how many, and adds to `problems` who failed."""
    import jax

    from lim_jax.runtime import progress

    unfound, predicted = len(problems), 0
    try:
        with progress.counted(len(paths), "images", logger, bar) as done:
            for (path, image), prediction in predictor.stream(_inputs(predictor, paths, problems)):
                writer.write(path, image, prediction)
                predicted += 1
                done(predicted + len(problems) - unfound)
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
