"""What all command line verbs share: start, one-line errors, readable progress.

A verb is a module with `define_flags()`, `main(argv)` and, under `if __name__ == "__main__"`, a call of `run`. A
mistake of the user's (an unknown flag, a `UserError`, a full disk) ends in one line on standard error and exit code 2.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from lim_jax.errors import UserError
from lim_jax.runtime import full_disk

EXIT_USER_ERROR = 2


def run(main: Callable[[Sequence[str]], object], define_flags: Callable[[], None]) -> None:
    """Defines and parses the flags, runs `main(argv)` and turns the user's mistakes into one line and exit code 2."""
    define_flags()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # TensorFlow would announce that it is on
    app.run(lambda argv: _exit_clearly(main, argv), flags_parser=_parse_flags)


def _exit_clearly(main: Callable[[Sequence[str]], object], argv: Sequence[str]) -> None:
    _start_logging()
    try:
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
        with full_disk.HeldBack():
            main(argv)
    except UserError as error:
        _fail(str(error))
    except Exception as error:
        if (advice := full_disk.advice(error)) is None:
            raise
        _fail(advice)  # its own text has many lines


def _parse_flags(argv: Sequence[str]) -> list[str]:
    """absl's parser, with every complaint (also of the config file's own code) as one line."""
    try:
        return flags.FLAGS(list(argv))
    except UserError as error:
        _fail(str(error))
    except (flags.Error, KeyError, AttributeError, ValueError, TypeError, OSError) as error:
        _fail(_last_line(error) + " (python -m lim_jax.main --help lists the flags)")


def _last_line(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return [line for line in text.splitlines() if line.strip()][-1].strip()


def _fail(message: str) -> NoReturn:
    logging.getLogger("lim_jax").setLevel(logging.ERROR)  # threads that are still at work have nothing to add
    print(f"error: {message}", file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)


def _start_logging() -> None:
    """Shows lim_jax's own messages, with the time of day; of the libraries' only errors.

    Orbax, TFDS and clu log through absl, and warn of what was chosen on purpose (a read-only folder, say).
    """
    absl_logging.set_verbosity(absl_logging.ERROR)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("lim_jax")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
