"""How the scripts end: a mistake of the user, or a file that cannot be read or written, is one line and exit code 2,
as with the verbs of lim_jax. And the flags that several of them have.
"""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from lim_jax.errors import UserError, one_line
from lim_jax.runtime import cli, full_disk
from sweeps.rows import LAST_EPOCH


def add_which(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say which results of a run are shown: `which` of what is parsed, as of `rows.of`."""
    group = parser.add_mutually_exclusive_group()
    results = {"dest": "which", "action": "store_const"}
    of_each = "of each task its own best epoch, as the paper reports"
    group.add_argument("--per_task", const="test_best_per_task", default="test", help=of_each, **results)
    last = "without a validation split: the last epoch alone, not the mean of the last ten"
    group.add_argument("--last_epoch", const=LAST_EPOCH, default="test", help=last, **results)


def run(main: Callable[[], int | None]) -> NoReturn:
    """Runs a script's `main`, and ends the process with its exit code."""
    cli.drop_output_that_nobody_reads()
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(cli.EXIT_USER_ERROR)
    except OSError as error:
        print(f"error: {full_disk.advice(error) or one_line(error)}", file=sys.stderr)
        sys.exit(cli.EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on", file=sys.stderr)
        sys.exit(130)
