"""Checkpoints as they lie on disk, read one by one; nothing is believed that can be checked.

A checkpoint is a folder of items (`lim_jax.training.checkpoints` says which). `meta` has the digests of all of them and
of itself; checkpoints of older versions have none, and are read without. Reading needs no Orbax manager, writes
nothing and waits for nobody, so a verb may read what a run is writing.
"""

import dataclasses
import functools
import json
import math
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import orbax.checkpoint as ocp
from etils import epath

from lim_jax import network as network_lib
from lim_jax.errors import one_line
from lim_jax.network import Network
from lim_jax.runtime import full_disk
from lim_jax.training import digests

PyTree = Any
BEST = "best"
LATEST = "latest"
TOTAL = "total"
FOLDER = "checkpoints"
ITEMS = ("weights", "training")  # those made of arrays
WEIGHTS_ALONE = "weights_alone"  # an empty file in the folder of a checkpoint that lost what only training needs


class UnusableError(Exception):
    """A checkpoint cannot be used; its text goes on after "the checkpoint at step 44 is"."""


def damaged(item: str, why: object) -> UnusableError:
    """Returns the exception for an item that is not as it was saved."""
    return UnusableError(f"damaged ({item}: {one_line(why)})")


@dataclasses.dataclass(frozen=True)
class Stored:
    """One checkpoint. All methods raise `UnusableError` where it is not as it was saved.

    Attributes:
      folder: of the checkpoint; its name is its step.
    """

    folder: pathlib.Path

    @property
    def step(self) -> int:
        """The number of training steps before it."""
        return int(self.folder.name)

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        """The whole content of `meta`, checked."""
        document = self._json("meta", "metadata")
        listed = document.get("digests")
        if listed is None:
            return document
        if not isinstance(listed, dict) or not all(isinstance(listed.get(item, {}), dict) for item in ITEMS):
            raise damaged("meta", "its digests are no list")
        others = {item: digest for item, digest in listed.items() if item != "meta"}
        if digests.of_json(document | {"digests": others}) != listed.get("meta"):
            raise damaged("meta", "it is not what was saved")
        return document

    @property
    def has_weights_alone(self) -> bool:
        """Whether it is kept as a best one only, without what training needs to go on."""
        return (self.folder / WEIGHTS_ALONE).exists()

    @property
    def has_digests(self) -> bool:
        """Whether it was saved with digests; older versions made none."""
        return "digests" in self._document

    def meta(self) -> dict[str, Any]:
        """Returns what was saved as `meta`."""
        return {key: value for key, value in self._document.items() if key not in ("digests", "losses")}

    def losses(self) -> dict[str, float]:
        """Returns the validation losses that it was saved with; what is not finite is no loss."""
        found = self._document.get("losses")
        if found is None:  # an older version
            found = self._json("metrics", "metrics") if (self.folder / "metrics").is_dir() else {}
        if not isinstance(found, dict):
            raise damaged("metrics", "they are no JSON object")
        return {key: loss for key, loss in found.items() if is_loss(loss)}

    def network(self) -> Network:
        """Returns the network that its weights belong to, and checks what else of `meta` every reader uses."""
        try:
            meta = self.meta()
            if not isinstance(meta["epoch"], int):
                raise TypeError(f"epoch is {meta['epoch']!r}")
            return network_lib.from_json(meta["architecture"])
        except UnusableError:
            raise
        except Exception as error:  # whatever comes of building a network from anything
            raise damaged("meta", f"it describes no network: {error}") from error

    def arrays(self, item: str) -> dict[str, Any]:
        """Returns the arrays of an item (one of `ITEMS`) by name, as they were saved to the last bit."""
        handler = ocp.StandardCheckpointHandler()
        listed = self._document.get("digests", {}).get(item)
        if item == "training" and self.has_weights_alone:
            raise UnusableError("kept for its weights alone")
        if not (self.folder / item).is_dir():
            raise damaged(item, "it is missing")
        full_disk.hold_back_abandoned()  # before: other threads may be done with their arrays sooner than this one
        try:
            arrays = digests.by_name(handler.restore(epath.Path(self.folder.absolute() / item)))
        except Exception as error:  # whatever Orbax and TensorStore make of files that are not as they wrote them
            raise damaged(item, error) from error
        finally:
            handler.close()
        if listed is not None and (problem := digests.differing(listed, arrays)):
            raise damaged(item, problem)
        return arrays

    def weights(self) -> dict[str, Any]:
        """Returns the arrays of `weights`, all of them finite."""
        arrays = self.arrays("weights")
        if name := digests.first_not_finite(arrays):
            raise UnusableError(f"not finite (weights: {name})")
        return arrays

    def position(self) -> Any:
        """Returns the state of the training input.

        All processes of a run have the same, since each takes its share of every batch; so it fits any number of them.
        """
        found = sorted((self.folder / "iterator").glob("process_0-of-*.json"))
        if len(found) != 1:
            raise damaged("iterator", "the state of process 0 is missing")
        state = self._json("iterator", found[0].name)
        wanted = self._document.get("digests", {}).get("iterator")
        if wanted is not None and digests.of_json(state) != wanted:
            raise damaged("iterator", "it is not what was saved")
        return state

    def check(self) -> None:
        """Reads everything; raises `UnusableError` if something is not as it was saved."""
        self.losses()
        self.network()
        self.weights()
        if "history" in self.meta() and not self.has_weights_alone:  # else it is a network without its training
            self.arrays("training")
            self.position()

    def _json(self, item: str, file: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / item / file).read_text())
        except FileNotFoundError as error:
            raise damaged(item, "it is missing") from error
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(item, error) from error
        if not isinstance(content, dict):
            raise damaged(item, "it is no JSON object")
        return content


def is_loss(value: Any) -> bool:
    """Whether a checkpoint can be ranked by a value: a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def all_of(workdir: pathlib.Path) -> list[Stored]:
    """Returns the checkpoints of a workdir, the newest first; empty folders are none."""
    folder = workdir / FOLDER
    if not folder.is_dir():
        return []
    steps = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]+", path.name) and path.is_dir()]
    return [Stored(path) for path in sorted(steps, key=lambda path: -int(path.name)) if any(path.iterdir())]


def ranked(workdir: pathlib.Path, which: str = BEST) -> list[Stored]:
    """Returns the checkpoints of a workdir, the wanted one first, and then what is next to it.

    Args:
      workdir: of a run.
      which: `BEST` (lowest total validation loss), `LATEST`, or a task's name (lowest validation loss of that task).
        Checkpoints without that loss come last, the newest of them first.
    """
    if which == LATEST:
        return all_of(workdir)
    return sorted(all_of(workdir), key=lambda stored: _loss(stored, TOTAL if which == BEST else which))  # is stable


def _loss(stored: Stored, key: str) -> float:
    try:
        return stored.losses().get(key, math.inf)
    except UnusableError:
        return math.inf


def without_losses(candidates: list[Stored]) -> dict[int, UnusableError]:
    """Returns what is wrong with those checkpoints whose losses cannot be read, by their steps."""
    problems = {}
    for stored in candidates:
        try:
            stored.losses()
        except UnusableError as error:
            problems[stored.step] = error
    return problems


def first_usable(candidates: list[Stored], use: Callable[[Stored], Any]) -> tuple[Any, dict[int, UnusableError]]:
    """Returns what `use` makes of the first checkpoint that it can use, and what is wrong with those before.

    None if it can use none.
    """
    problems: dict[int, UnusableError] = {}
    for stored in candidates:
        try:
            return use(stored), problems
        except UnusableError as error:
            problems[stored.step] = error
    return None, problems


def in_words(problems: Mapping[int, UnusableError]) -> str:
    """Returns one sentence about checkpoints that cannot be used."""
    return "; ".join(f"the checkpoint at step {step} is {problem}" for step, problem in problems.items())
