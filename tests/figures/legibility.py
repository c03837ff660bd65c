"""Draws figures as they are written, and checks that a reader can read them."""

from matplotlib.text import Text

from lim_jax.figures import style


def drawn(draw, *arguments):
    """Draws a figure in the report's style and lays it out."""
    with style.context():
        figure = draw(*arguments)
        figure.draw_without_rendering()
    return figure


def texts(figure):
    """All texts that a reader sees."""
    hidden = [label for axes in figure.axes for label in _labels_beyond_limits(axes)]
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in hidden]


def _labels_beyond_limits(axes):
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


def assert_legible(figure):
    """Every text is at least 7 points high and inside the figure, which fits a page."""
    assert 3.3 <= figure.get_figwidth() <= style.WIDTH + 1e-6
    for text in texts(figure):
        box = text.get_window_extent()
        outside = max(-box.x0, -box.y0, box.x1 - figure.bbox.width, box.y1 - figure.bbox.height)
        assert text.get_fontsize() >= 7 and outside <= 2, (text, box)  # pixels of 1/200 inch
