"""How the scripts end: a mistake of the user, or a file that cannot be read or written, is one line and exit code 2,
as with the verbs of lim_jax.
"""

import sys
from collections.abc import Callable
from typing import NoReturn

from lim_jax.errors import UserError, one_line
from lim_jax.runtime import cli, full_disk


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
