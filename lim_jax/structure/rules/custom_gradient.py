"""Arithmetic that says itself what its derivative is: `jax.custom_jvp` and `jax.custom_vjp`.

The derivative was traced for whole arrays, so that it is taken of whole arrays: of the cut ones, with any of their own
values where something was cut. Without differentiation nothing whole is made.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from lim_jax.structure import boxes
from lim_jax.structure.boxes import Box
from lim_jax.structure.program import Equation, flatten
from lim_jax.structure.rules.base import Step
from lim_jax.structure.rules.parallel import Elementwise


class CustomGradient(Elementwise):
    """The rule of both."""

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Computes with cut arrays, and derivatives with whole ones."""
        (want,) = step.wants
        assert want is not None
        if all(mask is None for mask in want):
            return [(eqn.bind(*operands)[0], want)]

        def cut(*operands: Any) -> Any:
            return self._apply(eqn, *operands)[0]

        def whole(*operands: Any) -> Any:
            spread = [_spread(x, want) if np.ndim(x) else x for x in operands]
            return boxes.narrow(eqn.bind(*spread)[0], boxes.full(len(want)), want)

        return [(_with_derivative_of(whole, cut, eqn.name)(*operands), want)]

    def _apply(self, eqn: Equation, *operands: Any, **changes: Any) -> list[Any]:
        """Applies the body to arrays of any one shape."""
        body = _flattened(eqn.params["call_jaxpr"])
        arrays = body.constants | dict(zip(body.inputs, operands, strict=True))
        for inner in body.equations:
            arrays.update(zip(inner.results, inner.bind(*(arrays[number] for number in inner.operands)), strict=True))
        return [arrays[number] for number in body.outputs]


_flattened = functools.lru_cache(maxsize=128)(flatten)


def _with_derivative_of(whole: Callable[..., Any], cut: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Returns `cut` with the derivative of `whole`, which computes the same."""
    if name == "custom_jvp_call":
        function = jax.custom_jvp(cut)
        function.defjvp(lambda primals, tangents: jax.jvp(whole, primals, tangents))
        return function
    function = jax.custom_vjp(cut)
    function.defvjp(lambda *operands: jax.vjp(whole, *operands), lambda pull, cotangent: pull(cotangent))
    return function


def _spread(array: Any, have: Box) -> Any:
    """Returns an array of the whole shape that holds the part there is at its place."""
    for axis, mask in enumerate(have):
        if mask is not None:
            places = np.cumsum(mask) - 1
            array = boxes.take(array, np.maximum(places, 0), axis)
    return array
