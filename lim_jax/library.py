"""What a program types instead of the verbs:

    results = lim_jax.train("rooms", "runs/rooms", num_epochs=5)
    model, variables, tasks = lim_jax.load("runs/rooms")
    predictions = lim_jax.Predictor.from_workdir("runs/rooms")([image])

It trains, opens what was trained, and predicts.
"""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections

from lim_jax import config as config_lib
from lim_jax import shipped
from lim_jax.config import checks, reading
from lim_jax.errors import UserError, one_line
from lim_jax.models import MultiTaskModel
from lim_jax.prediction import predictor
from lim_jax.tasks import Task

Path = os.PathLike[str] | str


def train(config: ml_collections.ConfigDict | str, workdir: Path, **overrides: Any) -> dict[str, Any]:
    """Trains and evaluates, or resumes what `workdir` holds, as `lim-jax train` does.

    Args:
      config: what `--config` takes ("rooms", "nyu:as_published", a path), or a configuration, which is not changed.
      workdir: made if needed.
      **overrides: values for keys of the configuration; `sparsity__target=0.7` stands for `sparsity.target`.

    Returns:
      The content of `results.json`.

    Raises:
      UserError: the user can fix it: an unknown key, a bad value, missing data, a workdir of another run.
    """
    from lim_jax.training import loop

    chosen = reading.read(config) if isinstance(config, str) else ml_collections.ConfigDict(config.to_dict())
    known = config_lib.flat(chosen)
    for name, value in overrides.items():
        key = name.replace("__", ".")
        if key not in known:
            raise UserError(checks.unknown_key(key))
        try:
            chosen.update_from_flattened_dict({key: value})
        except TypeError as error:
            raise UserError(f"config.{key} is {value!r}: {one_line(error)}") from error
    return loop.train_and_evaluate(chosen, pathlib.Path(workdir))


class Loaded(NamedTuple):
    """A trained network.

    Attributes:
      model: the Flax module; `model.apply(variables, models.normalize_images(images), train=False)` gives logits.
      variables: `{"params", "batch_stats"}`, NumPy arrays.
      tasks: by name, what the logits mean; `task.predict(logits, image_size)` gives predictions.
    """

    model: MultiTaskModel
    variables: Any
    tasks: Mapping[str, Task]


def load(workdir: Path) -> Loaded:
    """Returns the best network of a training run, a compact one, or one that comes with lim_jax: "shipped:rooms".

    Raises:
      UserError: there is no run, or it has no checkpoint that can be used.
    """
    from lim_jax.training import checkpoints

    trained = checkpoints.load_network(shipped.workdir(os.fspath(workdir)))
    return Loaded(trained.network.model, trained.variables, trained.network.tasks)


class Predictor(predictor.Predictor):
    """Predicts with one network: `predictor([image, another])`; see `lim_jax.prediction.predictor`."""

    @classmethod
    def from_workdir(cls, workdir: Path, image_size: predictor.Size | None = None, batch_size: int = 8) -> "Predictor":
        """Returns a predictor with the best network of a training run, or with a compact one.

        Args:
          workdir: of the run, or "shipped:rooms".
          image_size: what images are resized to, (height, width); None: as in training.
          batch_size: images that the network sees at once, at most.

        Raises:
          UserError: there is no run, or it has no checkpoint that can be used.
        """
        from lim_jax.training.workdir import open_trained

        config, trained = open_trained(shipped.workdir(os.fspath(workdir)))
        height, width = image_size or config.dataset.image_size
        return cls(trained.network, trained.variables, (height, width), batch_size)
