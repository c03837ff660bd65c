"""The file formats: how a program becomes bytes, and how these are run again without lim_jax.

StableHLO is JAX's own, through `jax.export`: lowered for CPUs and NVIDIA GPUs alike, run by jax alone (and flatbuffers,
which reads the file). ONNX, through jax2onnx, is run by onnxruntime and others. The number of images stays
open in both.
"""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax import export

from lim_jax.errors import UserError
from lim_jax.exporting.program import Program

INPUT = "images"  # the name of ONNX's input
BATCH = "batch"  # the name of the open dimension
PLATFORMS = ("cpu", "cuda")
OPSET = 23  # of ONNX

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
      serialize: makes the content of the file.
      load: takes that content and returns the function (images) -> {task: array}, by means of the runtime alone.
      packages: modules that it needs; their versions matter to whoever runs the file.
      details: what else a runtime may ask for.
    """

    serialize: Callable[[Program], bytes]
    load: Callable[[bytes], Run]
    packages: tuple[str, ...]
    details: Mapping[str, Any]

    def require(self) -> None:
        """Raises `UserError` if a package of the format is not installed."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise UserError(
                f"this format needs {', '.join(missing)}: pip install -e '.[onnx]', in an environment of its own "
                "(it takes an older jax and an older orbax-checkpoint)"
            )


def _to_stablehlo(program: Program) -> bytes:
    """Computes the network as suits each platform; the weights are arguments of both branches and stored once."""
    branches: Any = {platform: program.on(platform).compute for platform in PLATFORMS}

    def call(images: jax.Array) -> dict[str, jax.Array]:
        return jax.lax.platform_dependent(program.weights, images, **branches)

    (batch,) = export.symbolic_shape(BATCH)
    exported = export.export(jax.jit(call), platforms=PLATFORMS)(program.input(batch))
    return bytes(exported.serialize())


def _load_stablehlo(content: bytes) -> Run:
    exported = export.deserialize(bytearray(content))
    call = jax.jit(exported.call)
    return lambda images: jax.device_get(call(images))


def _to_onnx(program: Program) -> bytes:
    with _quiet():
        import jax2onnx  # pyright: ignore[reportMissingImports]

        (batch,) = export.symbolic_shape(BATCH)
        try:
            converted: Any = jax2onnx.to_onnx(
                program.on("cpu").__call__,  # jax2onnx mistranslates the max pooling of the others
                [program.input(batch)],
                model_name="lim_jax",
                opset=OPSET,
                input_names=[INPUT],
                output_names=sorted(program.network.tasks),  # JAX's order of a dict
            )
        except AttributeError as error:  # it reads what is jax's own business, which changes between releases
            versions = " and ".join(f"{name} {importlib.metadata.version(name)}" for name in ("jax2onnx", "jax"))
            raise UserError(
                f"{versions} do not work together ({error}): pip install -e '.[onnx]' in an environment of its own "
                "takes releases that do"
            ) from error
    return converted.SerializeToString()


def _load_onnx(content: bytes) -> Run:
    with _quiet():
        import onnxruntime  # pyright: ignore[reportMissingImports]

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what libraries say about themselves: nothing that a user could act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


FORMATS = {
    "stablehlo": Format(
        _to_stablehlo,
        _load_stablehlo,
        ("jax",),
        {"platforms": PLATFORMS, "calling_convention": export.maximum_supported_calling_convention_version},
    ),
    "onnx": Format(_to_onnx, _load_onnx, ("jax2onnx", "onnx", "onnxruntime"), {"opset": OPSET}),
}
