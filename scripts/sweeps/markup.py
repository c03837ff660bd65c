"""Tables as Markdown, LaTeX or text with cells in bold, on top of `lim_jax.figures.comparison`."""

import csv
import io
from collections.abc import Sequence

from lim_jax.figures import comparison

Rows = Sequence[tuple[str, ...]]

_OPEN, _CLOSE = "\ue000", "\ue001"  # of no script: around what is bold, until the form is known
_BOLD = {"text": ("", ""), "markdown": ("**", "**"), "latex": (r"\textbf{", "}")}
_LATEX = {"±": r"$\pm$", "λ": r"$\lambda$", "−": "$-$", "µ": r"$\mu$"}


def bold(text: str) -> str:
    """Returns text that is bold in a table."""
    return f"{_OPEN}{text}{_CLOSE}"


def table(rows: Rows, form: str) -> str:
    """Returns a table, the first row of which is its head, as "text", "markdown" or "latex"."""
    text = comparison.FORMS[form](list(rows))
    for mark, replacement in zip((_OPEN, _CLOSE), _BOLD[form], strict=True):
        text = text.replace(mark, replacement)
    if form == "latex":
        for sign, command in _LATEX.items():
            text = text.replace(sign, command)
    return text


def html(rows: Rows) -> str:
    """Returns a table as HTML."""
    import html as escaping

    def cell(tag: str, text: str) -> str:
        inner = escaping.escape(text).replace(_OPEN, "<b>").replace(_CLOSE, "</b>")
        return f"<{tag}>{inner}</{tag}>"

    head, *body = rows
    lines = ["<tr>" + "".join(cell("th", text) for text in head) + "</tr>"]
    lines += ["<tr>" + "".join(cell("td", text) for text in row) + "</tr>" for row in body]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def as_csv(rows: Sequence[Sequence[object]]) -> str:
    """Returns rows of plain values as CSV, numbers in full."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue()
