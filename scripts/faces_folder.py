#!/usr/bin/env python3
"""Makes a folder for `--config=folder` of faces with label maps, some of them with attributes, too.

    python scripts/faces_folder.py --maps=MAPS --celeba=CELEBA --output=FACES
    lim-jax look --config=folder:FACES --output=look
    python scripts/sweep.py --plan=faces --config=folder --root=DIR -- --config.dataset.source_dir=FACES

MAPS holds `images/NAME.jpg`, `masks/NAME.png` with the 19 labels of CelebAMask-HQ, and `labels.txt`, which names them.
CELEBA, which may be left out, is CelebAMask-HQ as downloaded, or a part of it.

The tasks are the paper's segmentation (skin with the parts of the face, hair, background); `mouth_open`, `eyeglasses`
and `earrings`, yes where the label map has that part; and `male` and `smiling`, which it does not tell: faces of MAPS
have empty cells there. 60/20/20 % of either source are drawn by a fixed seed. Files are copied, so that FACES needs
nothing else; its manifest is written last. How many faces say yes to each task is printed: of one that hardly any does,
little can be learned.
"""

import argparse
import csv
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import yaml
from PIL import Image
from sweeps import command

from lim_jax.data import transforms
from lim_jax.data.sources import celebamask_hq, files, manifest, paths, raw, task_file
from lim_jax.errors import UserError

TOLD_BY_MAPS = {"mouth_open": "mouth", "eyeglasses": "eye_g", "earrings": "ear_r"}  # and the part that it takes
TOLD_BY_ATTRIBUTES = ("male", "smiling")
# A part with a smaller share of the pixels, 6 of 64×64, is not seen. With it, mouths are open where CelebAMask-HQ calls
# them slightly open in 93 % of 137 faces; without, where a line between the lips counts, too, in 85 %.
_SMALLEST_PART = 0.0015
_IMAGES, _MASKS, _LABELS = "images", "masks", "labels.txt"
_ANSWERS = ("no", "yes")

Row = Mapping[str, str]  # of the manifest


def make(maps: pathlib.Path, celeba: pathlib.Path | None, output: pathlib.Path) -> list[Row]:
    """Writes the folder `output`, and returns the rows of its manifest.

    Args:
      maps: images, label maps and the labels' names.
      celeba: CelebAMask-HQ in its official layout; None for nothing.
      output: made if needed.

    Raises:
      UserError: something is wrong with a source, or `output` has a manifest already.
    """
    listed = output / manifest.NAMES[0]
    if listed.exists():
        raise UserError(f"{listed} exists already: give another --output, or delete that")
    try:
        for folder in (_IMAGES, _MASKS):
            (output / folder).mkdir(parents=True, exist_ok=True)
        rows = [*_from_maps(maps, output), *(_from_celeba(celeba, output) if celeba else ())]
        (output / task_file.NAMES[0]).write_text(yaml.safe_dump(_tasks(rows), sort_keys=False))
        with listed.open("w", newline="") as file:
            writer = csv.DictWriter(file, ("image", "split", "segmentation", *TOLD_BY_ATTRIBUTES, *TOLD_BY_MAPS))
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UserError(f"cannot write {output} ({error}): check the path and the disk") from error
    return rows


def balance(rows: Sequence[Row]) -> str:
    """Returns a line for each task with yes and no: how many faces say yes, of how many that say anything."""
    lines = []
    for task in (*TOLD_BY_ATTRIBUTES, *TOLD_BY_MAPS):
        answers = [row[task] for row in rows if row.get(task)]
        if answers:
            yes = answers.count("yes")
            lines.append(f"{task}: {yes} of {len(answers)} yes ({100 * yes / len(answers):.0f} %)")
    return "\n".join(lines)


def _from_maps(source: pathlib.Path, output: pathlib.Path) -> Iterator[Row]:
    names = tuple(raw.read_text(source / _LABELS).split())
    if names != celebamask_hq.LABEL_NAMES:
        raise UserError(f"{source / _LABELS} does not name CelebAMask-HQ's labels {celebamask_hq.LABEL_NAMES} in order")
    images = sorted(path for path in (source / _IMAGES).glob("*.jpg") if not paths.is_litter(path.name))
    for split, members in celebamask_hq.split(images).items():
        for image in members:
            mask = source / _MASKS / f"{image.stem}.png"
            labels = files.read_labels(mask, files.read_photo(image))
            shutil.copyfile(mask, output / _MASKS / f"maps_{mask.name}")
            yield _row(f"maps_{image.stem}", split, image, labels, output)


def _from_celeba(source: pathlib.Path, output: pathlib.Path) -> Iterator[Row]:
    for split, members in celebamask_hq.split(celebamask_hq.find_faces(source)).items():
        for face in members:
            photo = files.read_photo(face.image)
            labels = transforms.resize_labels(celebamask_hq.read_parts(face, photo), photo.pixels.shape[:2])
            name = f"celeba_{face.identity:05d}"
            Image.fromarray(labels).save(output / _MASKS / f"{name}.png")
            answers = {task: _ANSWERS[face.attributes[task]] for task in TOLD_BY_ATTRIBUTES}
            yield {**_row(name, split, face.image, labels, output), **answers}


def _row(name: str, split: str, image: pathlib.Path, labels: np.ndarray, output: pathlib.Path) -> Row:
    """Copies the image of a face, and returns what its label map tells."""
    copy = pathlib.Path(_IMAGES, name).with_suffix(image.suffix)
    shutil.copyfile(image, output / copy)
    present = {celebamask_hq.LABEL_NAMES.index(part): task for task, part in TOLD_BY_MAPS.items()}
    answers = {task: _ANSWERS[int(np.mean(labels == label) > _SMALLEST_PART)] for label, task in present.items()}
    return {"image": str(copy), "split": split, "segmentation": f"{_MASKS}/{name}.png", **answers}


def _tasks(rows: Sequence[Row]) -> dict[str, object]:
    """Returns the tasks file's content: the segmentation, and the tasks that some face says anything to."""
    spec, to_class = celebamask_hq.SPECS["segmentation"], celebamask_hq.CLASS_OF_LABEL
    classes = [
        {"name": name, "labels": np.flatnonzero(to_class == index).tolist(), "color": list(color)}
        for index, (name, color) in enumerate(zip(spec.class_names, spec.colors, strict=True))
    ]
    answered = [task for task in (*TOLD_BY_ATTRIBUTES, *TOLD_BY_MAPS) if any(row.get(task) for row in rows)]
    return {
        "segmentation": {"type": "segmentation", "classes": classes},
        **{task: {"type": "attribute"} for task in answered},
    }


def main() -> None:
    """Parses the command line, makes the folder, and prints how the answers are spread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", type=pathlib.Path, required=True, help="images, label maps and the labels' names")
    parser.add_argument("--celeba", type=pathlib.Path, help="CelebAMask-HQ, or a part of it")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the folder that is made")
    arguments = parser.parse_args()
    rows = make(arguments.maps, arguments.celeba, arguments.output)
    print(balance(rows))
    print(f"{len(rows)} faces in {arguments.output}")


if __name__ == "__main__":
    command.run(main)
