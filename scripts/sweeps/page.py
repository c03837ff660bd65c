"""A sweep as one HTML file that needs nothing else: pictures are inside it."""

import base64
import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222; }
h1 { font-size: 1.6em; } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ccc; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 9px; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
th { border-bottom: 2px solid #444; } td { border-bottom: 1px solid #ddd; }
figure { display: inline-table; margin: 0 1.2em 1.5em 0; vertical-align: top; }
figcaption { display: table-caption; caption-side: bottom; font-size: 13px; color: #444; }
img { max-width: 100%; height: auto; }
pre { background: #f5f5f5; padding: 0.7em; overflow-x: auto; font-size: 12px; }
summary { cursor: pointer; }
"""
_PIXELS_PER_INCH = 96  # of a page
_FIGURES_PIXELS_PER_INCH = 200


class Picture(NamedTuple):
    """A picture with what is written below it.

    Attributes:
      path: of a PNG file.
      caption: below it.
    """

    path: pathlib.Path
    caption: str


def page(title: str, introduction: Sequence[str], sections: Mapping[str, Sequence[str]]) -> str:
    """Returns an HTML document.

    Args:
      title: of it.
      introduction: paragraphs of plain text.
      sections: by heading, parts that the functions below return.
    """
    body = [f"<h1>{html.escape(title)}</h1>", *(f"<p>{html.escape(text)}</p>" for text in introduction)]
    for heading, parts in sections.items():
        if parts:
            body += [f"<h2>{html.escape(heading)}</h2>", *parts]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def table(title: str, content: str) -> str:
    """Returns a table, as `markup.html` makes it, with its title."""
    return f'<h3>{html.escape(title)}</h3><div class="wide">{content}</div>'


def lines(texts: Sequence[str]) -> str:
    """Returns a list of plain texts."""
    return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"


def folded(summary: str, text: str) -> str:
    """Returns a text that is seen after a click on its summary."""
    return f"<details><summary>{html.escape(summary)}</summary><pre>{html.escape(text)}</pre></details>"


def pictures(shown: Sequence[Picture]) -> list[str]:
    """Returns pictures, at the size that they were drawn for."""
    return [_figure(one) for one in shown]


def as_json(content: object) -> str:
    """Returns a JSON value for people."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def _figure(picture: Picture) -> str:
    content = picture.path.read_bytes()
    width = int.from_bytes(content[16:20], "big") * _PIXELS_PER_INCH // _FIGURES_PIXELS_PER_INCH  # of a PNG's header
    encoded = base64.b64encode(content).decode()
    caption = html.escape(picture.caption)
    return (
        f'<figure><img width="{width}" alt="{caption}" src="data:image/png;base64,{encoded}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
