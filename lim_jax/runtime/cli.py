"""What all command line verbs share: start, help, one-line errors, readable progress.

A verb is a module with `define_flags()`, `main(argv)` and, under `if __name__ == "__main__"`, a call of `run`. A
mistake of the user's (an unknown flag, a `UserError`, a full disk) ends in one line on standard error and exit code 2;
so does Ctrl-C at once, with 130. Training answers signals in its own way while there is something to save.
"""

import io
import logging
import os
import pathlib
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging

from lim_jax.errors import UserError
from lim_jax.runtime import full_disk, signals
from lim_jax.runtime.suggestions import nearest
from lim_jax.runtime.verbs import VERBS, Verb

EXIT_USER_ERROR = 2
SMALLEST_SIDE = 16  # pixels, of an image that a network sees, as in configurations
TRAINED = "DIR, the folder of a training run"  # what --workdir is of verbs that use a trained network
HELP_FLAGS = ("--help", "-help", "--helpshort", "-h", "-?")
_WIDTH = 100


def run(main: Callable[[Sequence[str]], object], define_flags: Callable[[], None], command: str | None = None) -> None:
    """Defines and parses the flags, runs `main(argv)` and turns the user's mistakes into one line and exit code 2.

    Args:
      main: takes what is left of the arguments after the flags.
      define_flags: defines the verb's flags.
      command: as typed before the flags; default: `python -m` and the module of `main`.
    """
    drop_output_that_nobody_reads()
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__
    command = command or f"python -m {name}"
    others = set(flags.FLAGS)
    define_flags()
    own = [flag for flag in flags.FLAGS if flag not in others]
    if any(argument in HELP_FLAGS for argument in sys.argv[1:]):
        print(help_text(command, name, module.__doc__ or "", own))
        return
    quiet_tensorflow()
    with signals.Answered(signals.leave):
        takes_arguments = any(verb.takes_arguments for verb in VERBS.values() if verb.module == name)
        app.run(
            lambda argv: _exit_clearly(main, argv, takes_arguments),
            flags_parser=lambda argv: _parse_flags(argv, own, f"{command} --help lists the flags"),
        )


def required_path(name: str, what: str) -> pathlib.Path:
    """Returns the path that a flag gives; raises `UserError` if it is not given, with `what` after "add --name="."""
    value = getattr(flags.FLAGS, name)
    if value is None:
        raise UserError(f"no {name}: add --{name}={what}")
    return pathlib.Path(value)


def height_and_width(text: str) -> tuple[int, int] | None:
    """Returns what `HEIGHT,WIDTH` says; None if it is something else, or less than `SMALLEST_SIDE`."""
    sides = [int(side) if side.strip().isdecimal() else 0 for side in text.split(",")]
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) >= SMALLEST_SIDE else None


def help_text(command: str, module: str, doc: str, own: Sequence[str]) -> str:
    """Returns a verb's help: its summary, its own flags, examples, and the rest of what its module says.

    Args:
      command: as typed before the flags.
      module: the verb's module.
      doc: the docstring of the module, whose first line the summary replaces.
      own: the names of the flags that the verb defines.
    """
    verb = next((verb for verb in VERBS.values() if verb.module == module), Verb(module, "", ()))
    details = doc.strip().partition("\n\n")[2]
    paragraphs = [
        f"{command}: {verb.summary}",
        "flags:\n" + "\n".join(_flag_help(flags.FLAGS[name]) for name in own),
        "examples:\n" + "\n".join(f"  {command} {example}" for example in verb.examples),
        details.strip(),
        "(--helpfull lists the flags of the libraries, too.)",
    ]
    return "\n\n".join(filter(None, paragraphs))


def _flag_help(flag: Any) -> str:
    choices = getattr(flag.parser, "enum_values", None)
    if flag.boolean:
        typed = f"--[no]{flag.name}"
    elif choices:
        typed = f"--{flag.name}={'|'.join(choices)}"
    else:
        typed = f"--{flag.name}={flag.name.upper()}"
    text = flag.help.removeprefix(f"<{'|'.join(choices or ())}>: ")  # absl's own way to say it
    if flag.default not in (None, []):
        text += f" (default: {_shown(flag.default)})"
    indent = " " * 6
    return f"  {typed}\n" + textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ",".join(default)
    return ("yes" if default else "no") if isinstance(default, bool) else str(default)


class _UntilReadersLeave(io.FileIO):
    """A file that swallows what is written after its reader has gone, as `head -1` goes after a line."""

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return super().write(data)


def quiet_tensorflow() -> None:
    """Keeps TensorFlow, once it is imported, from announcing that oneDNN is on, and the like."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def drop_output_that_nobody_reads() -> None:
    """Lets a verb finish its work, and exit as ever, when the reader of its output has gone."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is None:  # closed by whoever started the process
            continue
        raw = io.BufferedWriter(_UntilReadersLeave(stream.fileno(), "w", closefd=False))
        replacement = io.TextIOWrapper(
            raw,
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        stream.flush()
        setattr(sys, name, replacement)


def _exit_clearly(main: Callable[[Sequence[str]], object], argv: Sequence[str], takes_arguments: bool = False) -> None:
    _start_logging()
    try:
        if len(argv) > 1 and not takes_arguments:
            raise UserError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
        with full_disk.HeldBack():
            main(argv)
    except UserError as error:
        _fail(str(error))
    except Exception as error:
        if (line := _of_another_process(error)) is not None:
            signals.leave_with(1, line)  # at its end Python would wait for that process
        if (advice := full_disk.advice(error)) is None:
            raise
        _fail(advice)  # its own text has many lines


def _of_another_process(error: Exception) -> str | None:
    """Returns a line if the error is that another process of the run has ended."""
    if "jax" not in sys.modules:
        return None
    from lim_jax.runtime import processes

    return processes.advice(error)


def _parse_flags(argv: Sequence[str], own: Sequence[str], where_to_look: str) -> list[str]:
    """absl's parser, with every complaint (also of the config file's own code) as one line."""
    try:
        return flags.FLAGS(list(argv))
    except (UserError, flags.Error, KeyError, AttributeError, ValueError, TypeError, OSError, SyntaxError) as error:
        _fail(_complaint(error, own, where_to_look))


def _complaint(error: Exception, own: Sequence[str], where_to_look: str) -> str:
    """Returns what is wrong with the arguments in one line, with the flag that may have been meant."""
    if isinstance(error, UserError):  # of the configuration's own code
        return str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        if error.flagname.startswith("config.") and "config" in own:
            return f"--{error.flagname} needs a configuration to change: add --config=rooms before it"
        meant = nearest(error.flagname, own)
        hint = f": did you mean --{meant}?" if meant else ""
        return f"there is no flag --{error.flagname}{hint} ({where_to_look})"
    return f"{_last_line(error)} ({where_to_look})"


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
