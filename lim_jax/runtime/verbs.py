"""The verbs of the command line: where each lives, what it does, and how it is typed."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
      module: with `main(argv)` and `define_flags()`; `python -m MODULE` runs it, too.
      summary: what it does, in one line.
      examples: what may follow the verb, one command each.
      takes_arguments: whether it takes words that are no flags.
    """

    module: str
    summary: str
    examples: tuple[str, ...]
    takes_arguments: bool = False


VERBS = {
    "train": Verb(
        "lim_jax.main",
        "train and evaluate a network; the same command again resumes it",
        (
            "--config=rooms",
            "--config=nyu --config.dataset.source_dir=DIR",
            "--config=rooms --config.sparsity.target=0.7 --workdir=runs/target",
        ),
    ),
    "evaluate": Verb(
        "lim_jax.evaluate",
        "measure a trained network on a split of its data set again",
        ("--workdir=runs/rooms", "--workdir=runs/rooms/compact --split=validation", "--workdir=runs/rooms --verify"),
    ),
    "report": Verb(
        "lim_jax.report",
        "draw the figures of a run, running or finished, with its classes and worst images",
        ("--workdir=runs/rooms", "--workdir=runs/rooms --output=figures --worst=8"),
    ),
    "compare": Verb(
        "lim_jax.compare",
        "put runs side by side: metrics, size, latency, gain over a baseline",
        (
            "runs/rooms runs/rooms_dense",
            "runs/all runs/sparse --baseline=runs/depth,runs/normals --format=latex",
        ),
        takes_arguments=True,
    ),
    "tradeoff": Verb(
        "lim_jax.tradeoff",
        "train at several sparsities and draw accuracy against size and latency",
        ("--config=rooms", "--config=rooms --targets=0.5,0.7,0.9 --workdir=runs/rooms_tradeoff"),
    ),
    "predict": Verb(
        "lim_jax.predict",
        "predict all tasks for images, folders, videos or a camera",
        (
            "--workdir=shipped:rooms --images=kitchen.jpg --output=predictions",
            "--workdir=runs/rooms --images=kitchen.jpg,photos --output=predictions",
            "--workdir=runs/rooms/compact --images='photos/*.jpg' --output=predictions --raw --nopanel",
            "--workdir=runs/rooms --images=walk.mp4 --output=predictions",
            "--workdir=runs/rooms --camera=0 --frames=200 --output=predictions",
        ),
    ),
    "compact": Verb(
        "lim_jax.compact",
        "remove what is zero: a smaller network that computes the same",
        ("--workdir=runs/rooms", "--workdir=runs/rooms --output=small --round_to=8"),
    ),
    "export": Verb(
        "lim_jax.export",
        "write a network as one file that runs without lim_jax",
        (
            "--workdir=runs/rooms --output=rooms.stablehlo",
            "--workdir=runs/rooms/compact --output=rooms.onnx --format=onnx",
        ),
    ),
    "look": Verb(
        "lim_jax.look",
        "look at a data set: what its splits hold, what looks wrong, some examples",
        ("--config=rooms --output=look",),
    ),
}
