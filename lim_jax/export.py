"""Exports a trained network: `python -m lim_jax.export --workdir=DIR --output=FILE [--format=stablehlo|onnx]`.

FILE runs without lim_jax: StableHLO by jax alone, ONNX by onnxruntime (exporting it needs the extra `onnx`). By default
uint8 images (N, H, W, 3) of 0..255 go in, any number of them, in the size that the network was trained at, and per task
what `Task.predict` returns comes out, in that size. `--preprocess=outside` takes normalised float32 images instead;
`--postprocess=outside` returns the heads' raw logits, those of dense tasks at the resolution of their heads.

The best checkpoint, dense or compact, is computed in float32 with batch norm folded. The file is read back, run, and
compared with the network itself; a difference of more than 1e-4 of the largest logit ends in exit code 1 and leaves no
file. `FILE.json`, the model card, says what goes in and what comes out.
"""

import logging
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from lim_jax import shipped
from lim_jax.errors import UserError
from lim_jax.runtime import cli, whole_files

logger = logging.getLogger("lim_jax.export")  # as a verb, its __name__ is "__main__"

EXIT_DIFFERENT = 1
LARGEST_DIFFERENCE = 1e-4  # of the largest logit of a task
_PLACES = ("inside", "outside")


def define_flags() -> None:
    """Defines the verb's flags; apart from importing, so that verbs can be imported together."""
    flags.DEFINE_string("workdir", None, "The workdir of a training run or of a compact network, or shipped:rooms.")
    flags.DEFINE_string("output", None, "The file to write; its model card goes to OUTPUT.json.")
    flags.DEFINE_enum("format", "stablehlo", ("stablehlo", "onnx"), "The format of the file.")
    flags.DEFINE_string("image_size", None, "HEIGHT,WIDTH of the images; default: those of training.")
    flags.DEFINE_enum("preprocess", "inside", _PLACES, "Where images are normalised.")
    flags.DEFINE_enum("postprocess", "inside", _PLACES, "Where logits become predictions at the images' size.")


def main(argv: Sequence[str]) -> None:
    """Runs the verb on the parsed flags."""
    del argv
    given = flags.FLAGS
    card = export_run(
        shipped.workdir(cli.required_path("workdir", cli.TRAINED)),
        cli.required_path("output", "FILE"),
        given.format,
        image_size=_parse_size(given.image_size),
        normalises=given.preprocess == "inside",
        predicts=given.postprocess == "inside",
    )
    difference = _largest_difference(card)
    if difference > LARGEST_DIFFERENCE:
        print(
            f"the exported file differs from the network by {difference:.3g} of the largest logit, more than "
            f"{LARGEST_DIFFERENCE:g}: it was not kept; report this",
            file=sys.stderr,
        )
        sys.exit(EXIT_DIFFERENT)


def export_run(
    workdir: pathlib.Path,
    output: pathlib.Path,
    format_name: str = "stablehlo",
    *,
    image_size: tuple[int, int] | None = None,
    normalises: bool = True,
    predicts: bool = True,
) -> dict[str, Any]:
    """Exports the best checkpoint of a run to a file with a model card beside it, checks it, prints what it is.

    Args:
      workdir: of a training run, or a compact one.
      output: the file; an earlier export there is replaced. It is there only if it passed the check.
      format_name: "stablehlo" or "onnx".
      image_size: (height, width) of the images that it takes; default: those of training.
      normalises: whether it takes uint8 images and normalises them.
      predicts: whether it returns predictions at the images' size, not logits.

    Returns:
      The content of the model card.
    """
    from lim_jax import exporting
    from lim_jax.training.workdir import open_trained

    format_ = exporting.FORMATS[format_name]
    format_.require()
    partial = _make_room(output)
    try:
        settings, trained = open_trained(workdir)
        size = image_size or tuple(settings.dataset.image_size)
        program = exporting.build_program(
            trained.network, trained.variables, size, normalises=normalises, predicts=predicts
        )
        logger.info("converting the network for images of %d×%d to %s", *size, format_name)
        partial.write_bytes(format_.serialize(program))
        logger.info("comparing the file's outputs with the network's")
        content = partial.read_bytes()
        worst = exporting.differences(program, format_.load(content), trained.network, trained.variables)
        card = exporting.describe(format_name, content, program, trained, settings, workdir)
        card["difference_over_largest_logit"] = worst
        if _largest_difference(card) <= LARGEST_DIFFERENCE:
            whole_files.write_json(_card_of(output), card)
            partial.replace(output)
            print(_conclusion(output, card))
    finally:
        partial.unlink(missing_ok=True)
    return card


def _largest_difference(card: Mapping[str, Any]) -> float:
    return max(card["difference_over_largest_logit"].values())


def _card_of(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(output.name + ".json")


def _make_room(output: pathlib.Path) -> pathlib.Path:
    """Returns an empty file beside `output`, for what is not checked yet; refuses to replace what is no export."""
    from lim_jax import exporting

    if not output.parent.is_dir():
        raise UserError(f"there is no folder {output.parent}: make it, or give another --output")
    if output.is_dir():
        raise UserError(f"{output} is a folder: give a file as --output")
    card = _card_of(output)
    if output.exists() and not card.exists():
        raise UserError(f"{output} exists and is no export (it has no {card.name}): give another --output")
    if card.exists() and not exporting.is_card(card):
        raise UserError(f"{card} exists and is no model card of an export: give another --output")
    partial = output.with_name(output.name + ".partial")
    try:
        partial.write_bytes(b"")
    except OSError as error:
        raise UserError(f"cannot write to {output.parent} ({error.strerror}): give another --output") from error
    return partial


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    size = cli.height_and_width(text)
    if size is None:
        raise UserError(f"--image_size is {text!r} but must be HEIGHT,WIDTH of at least {cli.SMALLEST_SIDE} pixels")
    return size


def _conclusion(output: pathlib.Path, card: Mapping[str, Any]) -> str:
    def line(name: str, array: Mapping[str, Any], what: str) -> str:
        shape = " × ".join(map(str, array["shape"]))
        return f"  {name:<14} {array['dtype']:<8} {shape:<24} {what}".rstrip()

    given, network = card["input"], card["network"]
    lines = [
        "in",
        line(given["name"], given, "0..255, RGB" if given["dtype"] == "uint8" else "normalised, RGB"),
        "out",
        *(line(name, array, array["meaning"]) for name, array in card["outputs"].items()),
        f"{network['parameters']:,} parameters, {network['macs_per_image']:,} MACs an image",
        f"largest difference to the network: {_largest_difference(card):.2g} of the largest logit",
        f"{output} ({card['bytes'] / 1e6:.1f} MB) and its model card {_card_of(output).name} are written",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, define_flags)
