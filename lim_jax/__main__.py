"""`lim-jax VERB [flags]`, and `python -m lim_jax VERB [flags]`: all verbs behind one name."""

import importlib
import os
import sys
from typing import NoReturn

from lim_jax import __version__
from lim_jax.runtime import cli
from lim_jax.runtime.suggestions import nearest
from lim_jax.runtime.verbs import VERBS


def main() -> None:
    """Runs the verb that was typed, or lists the verbs."""
    command = "python -m lim_jax" if sys.argv[0].endswith("__main__.py") else "lim-jax"
    typed = sys.argv[1] if len(sys.argv) > 1 else "--help"
    cli.drop_output_that_nobody_reads()
    if typed in cli.HELP_FLAGS:
        print(_overview(command))
    elif typed == "--version":
        print(f"lim_jax {__version__}")
    elif typed in VERBS:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # as `python -m` does: a configuration may import what lies beside it
        sys.argv = [f"{command} {typed}", *sys.argv[2:]]
        module = importlib.import_module(VERBS[typed].module)
        cli.run(module.main, module.define_flags, f"{command} {typed}")
    else:
        _refuse(command, typed)


def _overview(command: str) -> str:
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    return "\n".join([f"usage: {command} VERB [--flag=value ...]", "", *lines, "", f"{command} VERB --help says more."])


def _refuse(command: str, typed: str) -> NoReturn:
    if typed.startswith("-"):
        problem = f"name a verb before the flags, as in {command} train {typed}"
    else:
        meant = nearest(typed, VERBS)
        problem = f"there is no verb {typed!r}" + (f": did you mean {meant}?" if meant else "")
    print(f"error: {problem} ({command} --help lists the verbs)", file=sys.stderr)
    sys.exit(cli.EXIT_USER_ERROR)


if __name__ == "__main__":
    main()
