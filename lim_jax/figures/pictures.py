"""Draws predictions as images: one picture per task at the image's own size, legends, and a panel of them all.

Pictures contain nothing but the prediction; what colours mean stands in legends beside them, in the words that the
report uses. Everything is composed of arrays, as matplotlib would take longer to draw a panel than the network to
predict it, and there may be thousands.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from lim_jax.figures import regions
from lim_jax.tasks.base import DenseTask, Task, dense_tasks, image_tasks
from lim_jax.tasks.legends import ColorKey, ColorScale, Entry

Size = tuple[int, int]  # (height, width)

SIDE = 640  # of the longer side of a picture in a panel, in pixels
_NARROWEST = 400  # cell of a panel: a legend has to fit below a narrow picture
_FONT = 20  # pixels: 7 points when a panel two pictures wide fills a page of 7 inches
_PATCH_WIDTH = round(1.4 * _FONT)  # of a patch of colour and the gap after it
_LINE = 28
_GAP = 20  # between the parts of a panel
_SLIDE = 16 / 9  # a panel comes as close to this shape as its pictures allow
_MOST_LINES = 8  # of a legend in a panel
_STRIP = 2**18  # pixels that are coloured at once: intermediate results are float64
_INK = (0, 0, 0)
_COVER = 0.5  # of an overlay: how much the colours hide of the image


@dataclasses.dataclass(frozen=True)
class Reduced:
    """An image at the resolution of a panel: uint8 `pixels` (h, w, 3), and the image's own `size`, (height, width)."""

    pixels: np.ndarray
    size: Size


def task_picture(task: DenseTask, prediction: np.ndarray, size: Size) -> np.ndarray:
    """Draws the prediction of a dense task in colour, uint8 (height, width, 3)."""
    rows = max(_STRIP // size[1], 1)
    picture = np.empty((*size, 3), np.uint8)
    for top in range(0, size[0], rows):
        picture[top : top + rows] = task.picture(prediction[top : top + rows])
    return picture


def overlay(image: Reduced, task: DenseTask, prediction: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Lays the colours of a segmentation over the image, with the names of larger regions; uint8, of the panel's size.

    Args:
      image: of `reduced`.
      task: the segmentation.
      prediction: of the task, at the image's own size.
      picture: of it, by `task_picture`.
    """
    drawn = _resized(picture, (image.pixels.shape[0], image.pixels.shape[1]), smooth=False)
    mixed = cv2.addWeighted(image.pixels, 1 - _COVER, drawn, _COVER, 0)
    return _named(mixed, prediction, task.spec.class_names)


def legend(task: DenseTask) -> np.ndarray:
    """Draws all that the colours of a task can mean, uint8 (h, w, 3)."""
    return np.asarray(_stacked([_drawn_legend(task.legend(), SIDE)], SIDE, margin=_GAP))


def reduced(image: np.ndarray) -> Reduced:
    """Returns what a panel shows of an image, uint8 (H, W, 3)."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    shape = max(round(height * scale), 1), max(round(width * scale), 1)
    return Reduced(_resized(image, shape), (height, width))


def panel(
    image: Reduced,
    tasks: Mapping[str, Task],
    predictions: Mapping[str, np.ndarray],
    pictures: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Draws the image and all tasks side by side, with titles and legends.

    Args:
      image: of `reduced`.
      tasks: by name.
      predictions: of the tasks, as `Task.predict` returns them, without the batch axis.
      pictures: of the dense tasks, by `task_picture`; attributes need none.

    Returns:
      uint8 (height, width, 3). Attributes are written below the image.
    """
    shape = image.pixels.shape[0], image.pixels.shape[1]
    cell_width = max(shape[1], _NARROWEST)
    answers = [(task.caption(predictions[name]), None) for name, task in image_tasks(tasks).items()]
    cells = [_cell("image", image.pixels, _paragraph(answers, cell_width) if answers else None, cell_width)]
    for name, task in dense_tasks(tasks).items():
        smooth = task.is_continuous  # a mixture of two classes' colours may be a third's
        below = _drawn_legend(task.legend(predictions[name]), cell_width, _MOST_LINES)
        picture = _named(_resized(pictures[name], shape, smooth), predictions[name], task.spec.class_names)
        cells.append(_cell(name, picture, below, cell_width))
    return np.asarray(_grid(cells))


def _named(picture: np.ndarray, prediction: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Writes the names of classes on their larger regions, where they fit; `prediction` is of the image's size."""
    if not names:
        return picture
    drawn = PIL.Image.fromarray(picture)
    draw, font = PIL.ImageDraw.Draw(drawn), _font(_FONT)
    for region in regions.find(_resized(prediction, (picture.shape[0], picture.shape[1]), smooth=False), names):
        if font.getlength(region.name) <= region.width and region.height >= _FONT:
            at = (region.x, region.y)
            draw.text(at, region.name, _INK, font, anchor="mm", stroke_width=2, stroke_fill=(255, 255, 255))
    return np.asarray(drawn)


def _drawn_legend(legend: ColorKey | ColorScale, width: int, most_lines: int | None = None) -> PIL.Image.Image:
    """Draws what colours mean: those that most pixels have come first, or a scale."""
    if isinstance(legend, ColorScale):
        return _drawn_scale(legend, width)
    entries = sorted(legend.entries, key=lambda entry: -entry.pixels)
    return _paragraph(entries, width, most_lines)


def _paragraph(
    entries: Sequence[Entry | tuple[str, None]], width: int, most_lines: int | None = None
) -> PIL.Image.Image:
    """Writes entries one after the other, a patch of its colour before each, in lines as words in a paragraph."""
    lines = _lines([(entry[0], entry[1]) for entry in entries], width)
    if most_lines is not None and len(lines) > most_lines:
        hidden = sum(map(len, lines[most_lines - 1 :]))
        lines[most_lines - 1 :] = [[_Word(0, f"and {hidden} that cover less", None)]]
    drawn = PIL.Image.new("RGB", (width, _LINE * len(lines)), "white")
    draw = PIL.ImageDraw.Draw(drawn)
    for number, line in enumerate(lines):
        for word in line:
            _write_word(draw, word, _LINE * number + _LINE / 2)
    return drawn


class _Word(NamedTuple):
    """An entry in its place: where it begins in its line, in pixels, and what it is."""

    x: int
    text: str
    color: np.ndarray | None


def _lines(entries: Sequence[tuple[str, np.ndarray | None]], width: int) -> list[list[_Word]]:
    """Breaks entries into lines of at most so many pixels."""
    font = _font(_FONT)
    lines: list[list[_Word]] = [[]]
    x = 0
    for text, color in entries:
        text = _shortened(text, font, width - 2 * _FONT)
        length = round(font.getlength(text)) + (0 if color is None else _PATCH_WIDTH)
        if x and x + length > width:
            lines.append([])
            x = 0
        lines[-1].append(_Word(x, text, color))
        x += length + _FONT
    return lines


def _write_word(draw: PIL.ImageDraw.ImageDraw, word: _Word, y: float) -> None:
    """Writes one entry, its middle at height `y`."""
    x = word.x
    if word.color is not None:
        box = (x, y - _FONT / 2, x + _FONT - 1, y + _FONT / 2 - 1)
        draw.rectangle(box, tuple(map(int, word.color)), outline=(100, 100, 100))
        x += _PATCH_WIDTH
    draw.text((x, y), word.text, _INK, _font(_FONT), anchor="lm")


def _drawn_scale(scale: ColorScale, width: int) -> PIL.Image.Image:
    """Draws the colours of a scale with ticks and what they measure."""
    font = _font(_FONT)
    left, right = _FONT, width - _FONT
    label = _wrapped(scale.label, font, width)
    drawn = PIL.Image.new("RGB", (width, (2 + len(label)) * _LINE), "white")
    values = np.linspace(0, scale.end, right - left + 1, dtype=np.float32)
    bar = scale.colors(np.broadcast_to(values, (_FONT, len(values))))
    drawn.paste(PIL.Image.fromarray(bar), (left, 4))
    draw = PIL.ImageDraw.Draw(drawn)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = left + tick * (right - left)
        draw.line((x, _FONT + 4, x, _FONT + 9), _INK, 2)
        draw.text((x, 1.5 * _LINE), f"{tick * scale.end:g}", _INK, font, anchor="mm")
    for number, line in enumerate(label):
        draw.text((width / 2, (2.5 + number) * _LINE), line, _INK, font, anchor="mm")
    return drawn


def _wrapped(text: str, font: PIL.ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Breaks a text into lines of at most so many pixels, at its spaces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cell(title: str, picture: np.ndarray, below: PIL.Image.Image | None, width: int) -> PIL.Image.Image:
    """Puts a title above a picture and its key below."""
    parts = [_paragraph([(title, None)], width), PIL.Image.fromarray(picture)]
    return _stacked(parts if below is None else [*parts, below], width)


def _stacked(parts: Sequence[PIL.Image.Image], width: int, margin: int = 0) -> PIL.Image.Image:
    gap = _GAP // 4
    height = sum(part.height + gap for part in parts) - gap
    whole = PIL.Image.new("RGB", (width + 2 * margin, height + 2 * margin), "white")
    y = margin
    for part in parts:
        whole.paste(part, (margin, y))
        y += part.height + gap
    return whole


def _grid(cells: Sequence[PIL.Image.Image]) -> PIL.Image.Image:
    """Lays cells of one width out in rows, such that the whole comes close to a slide's shape with few places empty."""
    number, width = len(cells), cells[0].width

    def rows_of(columns: int) -> list[int]:
        return [max(cell.height for cell in cells[first : first + columns]) for first in range(0, number, columns)]

    def badness(columns: int) -> tuple[bool, float]:
        heights = rows_of(columns)
        shape = (columns * (width + _GAP)) / (sum(heights) + _GAP * len(heights))
        return columns * len(heights) - number > 1, abs(np.log(shape / _SLIDE))

    columns = min(range(1, number + 1), key=badness)
    heights = rows_of(columns)
    size = columns * (width + _GAP) + _GAP, sum(heights) + _GAP * (len(heights) + 1)
    whole = PIL.Image.new("RGB", size, "white")
    y = _GAP
    for row, height in enumerate(heights):
        for column, cell in enumerate(cells[row * columns : (row + 1) * columns]):
            whole.paste(cell, (_GAP + column * (width + _GAP), y))
        y += height + _GAP
    return whole


def _resized(picture: np.ndarray, size: Size, smooth: bool = True) -> np.ndarray:
    shrinks = smooth and size[0] <= picture.shape[0] and size[1] <= picture.shape[1]
    return cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)


def _shortened(text: str, font: PIL.ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


@functools.lru_cache
def _font(size: int) -> PIL.ImageFont.FreeTypeFont:
    """Returns the font of the report's figures, which comes with matplotlib."""
    return PIL.ImageFont.truetype(pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
