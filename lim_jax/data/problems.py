"""Says everything that is wrong with many files in one line, instead of one file a run."""

import contextlib
from collections.abc import Iterator, Sequence

from lim_jax.errors import UserError

LISTED = 10


class CollectedUserError(UserError):
    """Several mistakes at once; the text lists the first ones and says how many there are."""

    def __init__(self, sentences: Sequence[str]):
        self.sentences = tuple(sentences)
        listed = [f"({number}) {sentence}" for number, sentence in enumerate(self.sentences[:LISTED], start=1)]
        left = len(self.sentences) - len(listed)
        rest = [f"and {left} more"] if left else []
        super().__init__(f"{len(self.sentences)} things are wrong: {'; '.join(listed + rest)}")


class Problems:
    """Gathers the mistakes of a loop that goes on after each of them."""

    def __init__(self) -> None:
        self._sentences: dict[str, None] = {}  # a dictionary keeps the order and says each thing once

    def __bool__(self) -> bool:
        return bool(self._sentences)

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Keeps a `UserError` of the block instead of raising it."""
        try:
            yield
        except CollectedUserError as error:
            self._sentences.update(dict.fromkeys(error.sentences))
        except UserError as error:
            self._sentences[str(error)] = None

    def add(self, sentence: str) -> None:
        """Keeps one more mistake."""
        self._sentences[sentence] = None

    def raise_any(self) -> None:
        """Raises `UserError` if anything was gathered: one mistake as it was, several as a list."""
        sentences = list(self._sentences)
        if len(sentences) == 1:
            raise UserError(sentences[0])
        if sentences:
            raise CollectedUserError(sentences)
