"""What may have been meant by a word that is none of the known ones: verbs, flags, keys, values."""

import difflib
from collections.abc import Iterable

_ALIKE = 0.6  # of 1: what counts as a slip of the finger


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Returns the one of `words` that is most like `word`, None if none is much like it.

    Where words have dots, the part after the last one may be all that was typed, or all that is right.
    """
    whole = list(words)
    close = difflib.get_close_matches(word.lower(), whole, n=1, cutoff=_ALIKE)
    last = {name.rpartition(".")[2]: name for name in whole}
    exact = last.get(word.rpartition(".")[2].lower())
    if exact or close:
        return exact or close[0]
    close = difflib.get_close_matches(word.rpartition(".")[2].lower(), last, n=1, cutoff=_ALIKE)
    return last[close[0]] if close else None
