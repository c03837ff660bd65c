"""Training examples that stay in memory: decoded on the host, or as they are stored on the devices.

`Kept` reads each example once. `DeviceBatches` yields, bit for bit, the batches of `pipeline.train_iterator`, but what
grain hands out are recipes: which examples, and where each is seen (`augmentation.Place`), drawn by the same
generators. A program takes the examples out of the devices' memory and changes them there, by the same code as on the
host. What no device computes with the bits of OpenCV, images that are scaled or get other colours, is still made by the
threads of the host, and goes to the device with its recipe.

Every device holds all examples: any of them may come next on any device, so there is nothing to exchange.
"""

import concurrent.futures
import dataclasses
import functools
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.data import augmentation, encoding, pipeline
from lim_jax.data.specs import Example, TargetSpec
from lim_jax.runtime import devices, memory

logger = logging.getLogger(__name__)

SHARE = 8  # examples may take one part in so many of a memory
_ON_HOST = ("train", "validation")


class Kept:
    """A source whose examples stay in memory once they have been read."""

    def __init__(self, source: Any):
        self._source = source
        self._examples: dict[int, Example] = {}
        self.noted = getattr(source, "noted", {})

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Example:
        if index not in self._examples:
            self._examples[index] = self._source[index]
        return self._examples[index]

    def __repr__(self) -> str:  # checkpoints know a data set again by it
        return repr(self._source)


def kept(sources: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Returns the sources of a data set whose training examples are kept at a `place`.

    On the host, those for validation are kept as well.
    """
    return {split: Kept(each) if place == "host" and split in _ON_HOST else each for split, each in sources.items()}


def fitting_place(
    wanted: str,
    num_workers: int,
    sources: Mapping[str, Any],
    specs: Mapping[str, TargetSpec],
    local_devices: Sequence[devices.Device],
) -> str:
    """Returns where training examples are kept: "device", "host" or "none".

    Args:
      wanted: one of these, where what does not fit goes to the next one; "auto" begins at the devices, of a CPU at the
        host.
      num_workers: worker processes, which share no memory: with some, "auto" is "none".
      sources: of the splits.
      specs: the targets.
      local_devices: of this process.
    """
    candidates = {"device": ("device", "host"), "host": ("host",), "none": ()}
    first = "none" if num_workers else "host" if local_devices[0].platform == "cpu" else "device"
    for candidate in candidates[first if wanted == "auto" else wanted]:
        problem = (_too_large_for_devices if candidate == "device" else _too_large)(sources, specs, local_devices)
        if problem is None:
            return candidate
        if wanted != "auto":
            logger.warning("warning: training examples are not kept on the %s: %s", candidate, problem)
    return "none"


def _too_large_for_devices(
    sources: Mapping[str, Any], specs: Mapping[str, TargetSpec], local_devices: Sequence[devices.Device]
) -> str | None:
    if jax.process_count() > 1:
        return "that is for runs of one process"
    source = sources["train"]
    needed = len(source) * _size(encoding.encode(source[0], specs))
    return _compared(needed, devices.memory_of(local_devices[0]))


def _too_large(
    sources: Mapping[str, Any], specs: Mapping[str, TargetSpec], local_devices: Sequence[devices.Device]
) -> str | None:
    del specs, local_devices
    needed = sum(len(sources[split]) * _size(sources[split][0]) for split in _ON_HOST if split in sources)
    return _compared(needed * jax.process_count(), memory.of_machine())


def _compared(needed: int, there: int) -> str | None:
    if SHARE * needed <= there:
        return None
    return f"they take {needed / 1e6:,.0f} MB, more than 1/{SHARE} of its {there / 1e6:,.0f} MB"


def _size(example: Example) -> int:
    """Returns the bytes of an example's arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(example))


class DeviceBatches:
    """The batches of `pipeline.train_iterator` as arrays on devices, made there from examples that stay there.

    The examples are read when the first batch is asked for. Its positions are those of `pipeline.train_iterator`.
    """

    def __init__(
        self,
        source: pipeline.Source,
        specs: Mapping[str, TargetSpec],
        changes: augmentation.Augmentation | None,
        local_devices: Sequence[devices.Device],
        **settings: Any,
    ):
        """Keeps the examples of `source` on `local_devices`.

        Args:
          source: the examples, as records give them.
          specs: their targets.
          changes: the augmentation.
          local_devices: of this process.
          **settings: of `pipeline.train_iterator`; no worker processes.
        """
        self._changes = changes or augmentation.Augmentation(specs)
        self._devices = local_devices
        self._examples = _Examples(source, specs, settings.get("num_threads", 1))
        recipes = _Recipes(self._examples, self._changes)
        draw = _Draw(self._changes, source[0]["image"].shape[:2])
        self._recipes = pipeline.train_iterator(recipes, augmentation=draw, **settings)
        self._on_devices: Any = None
        self._make: Any = None

    def __iter__(self) -> "DeviceBatches":
        return self

    def __next__(self) -> Example:
        recipes = next(self._recipes)
        if self._make is None:
            self._make = self._prepared(recipes)
        return self._make(self._on_devices, recipes)

    def get_state(self) -> Any:
        """Returns the position."""
        return self._recipes.get_state()

    def set_state(self, state: Any) -> None:
        """Goes to a position."""
        self._recipes.set_state(state)

    def _prepared(self, recipes: Any) -> Any:
        """Copies the examples to the devices; returns what makes a batch of recipes like these."""
        whole = {name: leaf for name, leaf in self._examples.arrays().items() if name not in recipes}
        self._on_devices = devices.replicate(whole, self._devices)
        self._examples.keep(_looked_at(self._changes))
        make = devices.sharing(functools.partial(_batch, changes=self._changes), self._devices)
        with jax.enable_x64(True):  # as NumPy has it, where targets are scaled
            return make.lower(self._on_devices, recipes).compile()


def _batch(examples: Any, recipes: Any, *, changes: augmentation.Augmentation) -> Example:
    """Returns the batch that is made of a device's share of recipes."""
    return jax.vmap(functools.partial(_example, changes=changes), (None, 0))(examples, recipes)


def _example(examples: Any, recipe: Any, *, changes: augmentation.Augmentation) -> Example:
    found = recipe | {name: leaf[recipe["index"]] for name, leaf in examples.items()}
    targets = {name: encoding.decode(spec, found[f"targets/{name}"]) for name, spec in changes.specs.items()}
    example = {"image": found["image"], "targets": targets}
    if changes.horizontal_flip:
        choose = functools.partial(jnp.where, recipe["flipped"])
        example = jax.tree.map(choose, augmentation.flip(example, changes.specs), example)
    if changes.crops:
        window = recipe["rows"], recipe["columns"], recipe["scale"]
        targets = augmentation.zoomed_targets(example["targets"], changes.specs, *window, changes.zoomed_depth)
        example["targets"] = targets
    return example | ({"image": recipe["image"]} if "image" in recipe else {})


class _Examples:
    """All examples of a source as one array per part ("image", "targets/depth"), encoded; read at the first use."""

    def __init__(self, source: pipeline.Source, specs: Mapping[str, TargetSpec], num_threads: int):
        self._source, self._specs, self._num_threads = source, specs, num_threads
        self._arrays: dict[str, np.ndarray] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._source)

    def __repr__(self) -> str:
        return repr(self._source)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns them, read by several threads."""
        with self._lock:
            if self._arrays is None:
                first = self._read(0)
                self._arrays = {name: np.empty((len(self), *part.shape), part.dtype) for name, part in first.items()}
                with concurrent.futures.ThreadPoolExecutor(self._num_threads) as threads:
                    list(threads.map(functools.partial(self._fill, self._arrays), range(len(self))))
            return self._arrays

    def keep(self, names: Sequence[str]) -> None:
        """Forgets all others."""
        self._arrays = {name: part for name, part in self.arrays().items() if name in names}

    def _read(self, index: int) -> dict[str, np.ndarray]:
        example = encoding.encode(self._source[index], self._specs)
        return {"image": example["image"]} | {
            f"targets/{name}": np.asarray(part) for name, part in example["targets"].items()
        }

    def _fill(self, arrays: dict[str, np.ndarray], index: int) -> None:
        for name, part in self._read(index).items():
            arrays[name][index] = part


def _looked_at(changes: augmentation.Augmentation) -> list[str]:
    """Returns which parts of an example recipes are made of on the host."""
    images = ["image"] if changes.crops or changes.recolors else []
    return images + [f"targets/{name}" for name in changes.looked_at]


class _Recipes:
    """A source of what the host needs to know of examples to draw their recipes."""

    def __init__(self, examples: _Examples, changes: augmentation.Augmentation):
        self._examples, self._names = examples, _looked_at(changes)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        arrays = self._examples.arrays()
        return {"index": np.int32(index)} | {name: arrays[name][index] for name in self._names}

    def __repr__(self) -> str:  # grain's saved states and error messages hold it
        return repr(self._examples)


@dataclasses.dataclass(frozen=True)
class _Draw(grain.transforms.RandomMap):
    """Draws a recipe, as `changes` would change the example."""

    changes: augmentation.Augmentation
    image_size: tuple[int, int]

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        changes, labels = self.changes, [element[f"targets/{name}"] for name in self.changes.looked_at]
        place = changes.place(self.image_size, labels, rng)
        recipe = {"index": element["index"], "flipped": np.bool_(place.flipped)}
        if changes.crops:
            rows, columns = place.sources(self.image_size)
            recipe |= {"rows": rows.astype(np.int32), "columns": columns.astype(np.int32)}
            recipe["scale"] = np.float32(place.scale)
        if "image" in element:
            seen = changes.placed({"image": element["image"], "targets": {}}, place)
            recipe["image"] = changes.recolored(seen["image"], rng)
        return recipe
