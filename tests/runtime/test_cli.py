"""The command line: verbs and their help, mistakes in one line, what ends a verb, a reader that leaves."""

import contextlib
import errno
import logging
import os
import pathlib
import subprocess
import sys
import textwrap
import types
import warnings

import pytest

from lim_jax.errors import UserError
from lim_jax.runtime import cli
from lim_jax.runtime.suggestions import nearest
from lim_jax.runtime.verbs import VERBS

ROOT = pathlib.Path(__file__).parents[2]
TRAIN = ["lim_jax", "train", "--config=configs/rooms.py"]


class _ToStandardError(logging.Handler):
    def emit(self, record):
        print(self.format(record), file=sys.stderr)


@pytest.fixture(autouse=True)
def _process_as_it_is(monkeypatch):
    """What the command line changes for its process would take messages away from other tests."""
    monkeypatch.setattr(cli, "_start_logging", lambda: None)
    monkeypatch.setattr(logging.root, "handlers", [_ToStandardError()])
    monkeypatch.setattr(warnings, "showwarning", lambda message, *where: print(f"warning: {message}", file=sys.stderr))
    monkeypatch.setattr(sys, "unraisablehook", lambda args: print(f"unraisable: {args.exc_value}", file=sys.stderr))
    logger = logging.getLogger("lim_jax")
    before = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(before)


def complain(error):
    """As Orbax logs an error of a thread, TensorStore an array that was still being written, and JAX its cache."""
    try:
        raise error
    except OSError:
        logging.getLogger("library").exception("could not save")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"could not cache: {error}", stacklevel=1)
    sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError("Event loop is closed")))


def system_error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "the disk is full: free some space and run the same command again"),
        (errno.EDQUOT, "the disk quota is used up: free some space and run the same command again"),
        (errno.EFBIG, "a file would get larger than is allowed: raise `ulimit -f` and run the same command again"),
    ],
)
def test_a_full_disk_is_one_line_whatever_libraries_say(capsys, number, line):
    def main(argv):
        complain(system_error(number))
        raise RuntimeError(f"events.out; {os.strerror(number)}\n\tFailed to flush 11 events")

    with pytest.raises(SystemExit) as stop:
        cli._exit_clearly(main, ["verb"])
    complain(system_error(number))  # threads may be at work until the process ends
    logging.getLogger("lim_jax").info("compiled")
    assert stop.value.code == cli.EXIT_USER_ERROR
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("end", [None, UserError("a mistake"), RuntimeError("a bug"), SystemExit(143)])
def test_a_full_disk_is_not_hidden_if_the_verb_ends_otherwise(capsys, end):
    def main(argv):
        complain(system_error(errno.ENOSPC))
        logging.getLogger("lim_jax").info("compiled")
        assert capsys.readouterr().err == "compiled\n"
        if end is not None:
            raise end

    with contextlib.suppress(SystemExit, RuntimeError):
        cli._exit_clearly(main, ["verb"])
    shown = capsys.readouterr().err
    assert "could not save\nTraceback" in shown
    assert "warning: could not cache: [Errno 28] No space left on device" in shown
    assert "unraisable: Event loop is closed" in shown
    complain(system_error(errno.ENOSPC))
    assert "could not save" in capsys.readouterr().err


def test_what_libraries_say_of_other_errors_is_shown_at_once(capsys):
    def main(argv):
        complain(system_error(errno.EACCES))
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError("another one")))
        shown = capsys.readouterr().err
        assert "could not save" in shown
        assert "warning: could not cache" in shown
        assert "unraisable: another one" in shown

    cli._exit_clearly(main, ["verb"])


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        cli._exit_clearly(main, ["verb"])


def python(*arguments):
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("command", [["-m", "lim_jax", "--help"], ["-m", "lim_jax"], ["-m", "lim_jax", "-h"]])
def test_verbs_are_listed(command):
    result = python(*command)
    assert result.returncode == 0
    listed = [line.split(maxsplit=1) for line in result.stdout.splitlines() if line.startswith("  ")]
    assert listed == [[name, verb.summary] for name, verb in VERBS.items()]


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_the_verbs_own_flags_then_examples(name):
    short, module = python("-m", "lim_jax", name, "--help"), python("-m", VERBS[name].module, "--help")
    assert short.returncode == module.returncode == 0
    assert short.stdout.replace(f"lim_jax {name}", VERBS[name].module) == module.stdout
    first, flags, examples = short.stdout.split("\n\n")[:3]
    assert first == f"python -m lim_jax {name}: {VERBS[name].summary}"
    assert flags.startswith("flags:\n  --")
    assert "--verbosity" not in short.stdout  # absl's
    assert examples.splitlines()[1:] == [f"  python -m lim_jax {name} {line}" for line in VERBS[name].examples]


@pytest.mark.parametrize("name", VERBS)
def test_examples_have_flags_and_keys_that_exist(name):
    code = f"""
        import importlib, shlex
        from absl import flags
        module = importlib.import_module({VERBS[name].module!r})
        module.define_flags()
        for example in {VERBS[name].examples!r}:
            import sys
            sys.argv = ["verb", *shlex.split(example)]
            words = flags.FLAGS(sys.argv)[1:]
            assert bool(words) == {VERBS[name].takes_arguments} and not any(word.startswith("-") for word in words)
        """
    result = python("-c", textwrap.dedent(code))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (
            ["lim_jax", "trian"],
            "there is no verb 'trian': did you mean train? (python -m lim_jax --help lists the verbs)",
        ),
        (["lim_jax", "sing"], "there is no verb 'sing' (python -m lim_jax --help lists the verbs)"),
        (["lim_jax", "--workdir=x"], "name a verb before the flags, as in python -m lim_jax train --workdir=x"),
        (
            ["lim_jax", "evaluate", "--wrkdir=x"],
            "there is no flag --wrkdir: did you mean --workdir? (python -m lim_jax evaluate --help lists the flags)",
        ),
        (["lim_jax.evaluate", "--xyz"], "there is no flag --xyz (python -m lim_jax.evaluate --help lists the flags)"),
        ([*TRAIN, "--config.num_epoch=3"], "there is no key config.num_epoch: did you mean config.num_epochs?"),
        ([*TRAIN, "--config.strength=1"], "there is no key config.strength: did you mean config.sparsity.strength?"),
        ([*TRAIN, "--noconfig.recompte"], "there is no key config.recompte: did you mean config.recompute?"),
        ([*TRAIN, "--config.xyz", "3"], "there is no key config.xyz: lim_jax/configs/common.py has all"),
        ([*TRAIN, "--config.seed=one"], "config.seed is 'one' but must be a whole number"),
        (["lim_jax", "train", "--config.seed=1"], "--config.seed needs a configuration to change: add --config="),
        (["lim_jax", "train", "--config=README.md"], "README.md is no configuration (SyntaxError: "),
    ],
)
def test_mistyped_words_are_one_line_with_the_nearest(command, line):
    result = python("-m", *command)
    assert result.returncode == cli.EXIT_USER_ERROR
    assert result.stderr.startswith("error: ")
    assert line in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not result.stdout


def test_a_reader_that_leaves_does_not_stop_a_verb(tmp_path):
    verb = tmp_path / "verb.py"
    verb.write_text(
        textwrap.dedent("""
        import pathlib, sys
        from lim_jax.runtime import cli

        def main(argv):
            for _ in range(3):
                print("x" * 2**17, flush=True)  # more than a pipe holds
            pathlib.Path(__file__).with_name("done").touch()

        cli.run(main, lambda: None)
        """)
    )
    process = subprocess.Popen(
        [sys.executable, verb], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=-1, stderr=-1
    )
    process.stdout.read(1)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_a_reader_that_leaves_does_not_stop_the_list_of_verbs(flag):
    read, write = os.pipe()
    os.close(read)  # as `head` has gone when this process writes
    process = subprocess.run([sys.executable, "-m", "lim_jax", flag], cwd=ROOT, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")


def test_nearest():
    assert nearest("epochs", ["num_epochs", "eval_every_epochs"]) == "num_epochs"
    assert nearest("metric", ["sparsity.metric", "model.backbone"]) == "sparsity.metric"
    assert nearest("metric", []) is None


@pytest.mark.parametrize("module", ["lim_jax", *(verb.module for verb in VERBS.values()), "lim_jax.__main__"])
def test_flags_are_parsed_before_jax_is_imported(module):
    slow = "{'jax', 'flax', 'optax', 'tensorflow', 'matplotlib', 'cv2', 'orbax'}"
    result = python("-c", f"import sys, {module}; print({slow} & sys.modules.keys() or 'none')")
    assert result.stdout == "none\n", result.stderr
