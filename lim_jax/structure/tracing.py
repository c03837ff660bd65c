"""What belongs together in a function's parameters: its channels, and groups of them for `lim_jax.sparsity`.

    structure = trace(fn, params, *inputs)
    tx = lim_jax.sparsity.proximal_adam(1e-3, strength=1e-4, groups=structure.groups())
    print(structure.report())

This looks at the program alone, whatever the values of the parameters are.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from lim_jax.errors import UserError
from lim_jax.sparsity.groups import GroupAxis, leaves_by_path
from lim_jax.structure.analysis import walk_units
from lim_jax.structure.coupling import INPUT, OUTPUT, PLACE, Axes, Coupling, Reading, Units, fresh_axes
from lim_jax.structure.program import Equation, Program, flatten, read
from lim_jax.structure.rules import is_opaque

PyTree = Any
KINDS = ("input_channels", "coupled")


@dataclasses.dataclass(frozen=True)
class Member:
    """Where the channels of a group are in one parameter.

    Attributes:
      path: of the parameter.
      axis: the axis that indexes them.
      indices: for each channel, the indices along that axis; more than one where, for instance, an image was flattened.
    """

    path: str
    axis: int
    indices: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class ChannelGroup:
    """Channels that may leave one by one, each with its slices of the same parameters.

    Attributes:
      size: how many channels.
      members: where they are.
    """

    size: int
    members: tuple[Member, ...]


@dataclasses.dataclass(frozen=True)
class Opaque:
    """An operation of which nothing is known: its name, its place in the code and the shapes that it reads."""

    name: str
    source: str
    shapes: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True)
class Structure:
    """What belongs together in the parameters of a function.

    Attributes:
      params: the tree of the parameters' shapes.
      channels: the removable channels.
      reads: for each parameter that data are multiplied with, by path, the axes that are summed over. First layers,
        whose data are the inputs, are left out.
      opaque: operations of which nothing is known.
    """

    params: PyTree
    channels: tuple[ChannelGroup, ...]
    reads: dict[str, tuple[int, ...]]
    opaque: tuple[Opaque, ...]
    _axes: dict[str, Axes]
    _coupling: Coupling

    def groups(self, kind: str = "input_channels", exclude: Sequence[str] = ()) -> PyTree:
        """Returns groups for `lim_jax.sparsity`, a tree like the parameters.

        Args:
          kind: "input_channels" for one group per channel that a layer reads, as the paper has it: slices of one
            parameter. "coupled" for one group per channel, across the parameters that it is read with, scaled and
            shifted; each parameter is in one group only, so that a kernel belongs to the channels that it reads, and to
            those that it makes if it reads none that can leave.
          exclude: regular expressions, searched in the paths of parameters that get no groups.

        Raises:
          UserError: for an unknown kind, or where an expression matches no parameter.
        """
        if kind not in KINDS:
            raise UserError(f"groups of kind {kind!r}; choose one of {', '.join(KINDS)}")
        for pattern in exclude:
            if not any(re.search(pattern, path) for path in self._axes):
                raise UserError(f"exclude: {pattern!r} matches no parameter, such as {next(iter(self._axes))}")
        chosen = [path for path in self._axes if not any(re.search(pattern, path) for pattern in exclude)]
        axes = self._input_channels(chosen) if kind == "input_channels" else self._coupled(chosen)
        return jax.tree.unflatten(jax.tree.structure(self.params), [axes.get(path) for path in self._axes])

    def report(self) -> str:
        """Returns a text: removable channels and what leaves with each, what cannot leave, what is not understood."""
        lines = ["removable channels, and what leaves with each:"]
        lines += [
            f"  {group.size:>5} × " + ", ".join(f"{member.path}[{member.axis}]" for member in group.members)
            for group in self.channels
        ]
        lines += ["axes of parameters that stay whole:"]
        for path, axes in self._axes.items():
            for axis, units in enumerate(axes):
                reasons = self._coupling.reasons(units) - {PLACE}
                if reasons:
                    lines.append(f"        {path}[{axis}]: {'; '.join(sorted(reasons))}")
        lines += ["operations that read and mix everything, since nothing is known of them:"]
        lines += [f"        {each.name} of {', '.join(map(str, each.shapes))} at {each.source}" for each in self.opaque]
        return "\n".join(lines if self.opaque else lines[:-1])

    def _input_channels(self, paths: Sequence[str]) -> dict[str, int | GroupAxis]:
        found = {path: self.reads[path] for path in paths if path in self.reads}
        return {path: axes[0] if len(axes) == 1 else GroupAxis(axes) for path, axes in found.items()}

    def _coupled(self, paths: Sequence[str]) -> dict[str, int | GroupAxis]:
        found: dict[str, int | GroupAxis] = {}
        names: dict[tuple[int, ...], str] = {}
        for path in paths:
            for axis in self._removable_axes(path)[:1]:
                units = tuple(self._coupling.find(self._axes[path][axis]).tolist())
                name = names.setdefault(units, path.removesuffix("/kernel"))
                found[path] = GroupAxis(axis, joint=f"channels of {name}")
        return found

    def _removable_axes(self, path: str) -> list[int]:
        """Returns the axes all of whose indices are channels that may leave, each another one; read ones first."""
        axes = self._axes[path]
        whole = [
            axis
            for axis, units in enumerate(axes)
            if len(np.unique(self._coupling.find(units))) == len(units) and not self._coupling.is_blocked(units).any()
        ]
        return sorted(whole, key=lambda axis: axis not in self.reads.get(path, ()))


def trace(fn: Callable[..., Any], params: PyTree, *inputs: Any) -> Structure:
    """Finds out what belongs together.

    Args:
      fn: `fn(params, *inputs)`, traceable by JAX.
      params: a tree of arrays or `jax.ShapeDtypeStruct`.
      *inputs: examples of the other arguments, or `jax.ShapeDtypeStruct`.
    """
    program, _ = read(fn, params, *inputs)
    paths = list(leaves_by_path(params))
    coupling = Coupling()
    units = [Units(fresh_axes(coupling, program.arrays[number].shape)) for number in program.inputs]
    for number in range(len(units)):
        belongs = number < len(paths)
        units[number] = dataclasses.replace(
            units[number], leaves=frozenset([number] if belongs else []), data=not belongs
        )
    for each in units[len(paths) :]:
        for axis in each.axes:
            coupling.block(axis, INPUT)
    for each in walk_units(program, units, coupling):
        for axis in each.axes:
            coupling.block(axis, OUTPUT)
    axes = {path: each.axes for path, each in zip(paths, units, strict=False)}
    return Structure(
        params=jax.eval_shape(lambda tree: tree, params),
        channels=_channels(axes, coupling),
        reads=_reads(axes, coupling),
        opaque=tuple(_opaque(program)),
        _axes=axes,
        _coupling=coupling,
    )


def _channels(axes: dict[str, Axes], coupling: Coupling) -> tuple[ChannelGroup, ...]:
    """Collects for each unit that may leave where it is, and those that are at the same places into groups."""
    places: dict[int, dict[tuple[str, int], list[int]]] = {}
    for path, each in axes.items():
        for axis, units in enumerate(each):
            blocked = coupling.is_blocked(units)
            for index, unit in enumerate(coupling.find(units).tolist()):
                if not blocked[index]:
                    places.setdefault(unit, {}).setdefault((path, axis), []).append(index)
    alike: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for unit, found in places.items():
        alike.setdefault(tuple(found), []).append(unit)
    return tuple(
        ChannelGroup(
            len(units),
            tuple(Member(*key, tuple(tuple(places[unit][key]) for unit in units)) for key in keys),
        )
        for keys, units in alike.items()
    )


def _reads(axes: dict[str, Axes], coupling: Coupling) -> dict[str, tuple[int, ...]]:
    """Finds the parameters' axes that are summed over in products with data that depend on parameters."""
    names = list(axes)
    found: dict[str, tuple[int, ...]] = {}
    for reading in coupling.readings:
        for leaf in sorted(reading.leaves):
            summed = _summed_axes(axes[names[leaf]], reading, coupling)
            if summed and not reading.raw:
                found.setdefault(names[leaf], summed)
    return found


def _summed_axes(axes: Axes, reading: Reading, coupling: Coupling) -> tuple[int, ...]:
    """Returns which axes of a parameter are those that are summed over: at the same place, or else by their units."""
    if tuple(len(units) for units in axes) == reading.shape:
        return tuple(sorted(reading.axes))
    result = []
    for wanted in reading.axes.values():
        units = coupling.find(wanted)
        result += [axis for axis, each in enumerate(axes) if np.array_equal(coupling.find(each), units)][:1]
    return tuple(sorted(set(result))) if len(axes) > 1 and len(result) == len(reading.axes) else ()


def _opaque(program: Program) -> list[Opaque]:
    """Finds operations of which nothing is known among those that depend on the program's inputs."""
    found, depending = [], set(program.inputs)
    for eqn in program.equations:
        if depending.isdisjoint(eqn.operands):
            continue
        depending.update(eqn.results)
        if eqn.name == "scan":
            found += _opaque(flatten(eqn.params["jaxpr"]))
        elif is_opaque(eqn):
            found.append(_describe(eqn))
    return found


def _describe(eqn: Equation) -> Opaque:
    return Opaque(eqn.name, eqn.source, tuple(array.shape for array in eqn.ins))
