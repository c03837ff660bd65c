"""How the losses of several tasks become one step. One file per method, all under one interface (`base`).

    create(name, tasks, loss_weights) -> Balancing      a frozen dataclass; `METHODS` has the names

A `LossBalancing` makes one loss of the tasks' losses: `equal`, `fixed`, `uncertainty`, `dwa`, `gls`, `rlw`, `stch`,
`famo`. A `GradientBalancing` (`pcgrad`, `cagrad`, `upgrad`) weighs the tasks' gradients by how they lie to each
other, which it is told as the matrix of their inner products (`gram`): whatever these methods make of K gradients is
a weighted sum of them, however long they are.

What a method has to remember between steps is its state, a dict of arrays, `{}` for most. Nothing here knows of
networks, data or devices. To add a method: a class like its neighbours in a new file, and a line in `_METHODS` below.
"""

from collections.abc import Sequence

from lim_jax.balancing.base import Balancing, GradientBalancing, LossBalancing, State, cosines, gram, stacked
from lim_jax.balancing.cagrad import CAGrad
from lim_jax.balancing.dwa import DynamicWeightAverage
from lim_jax.balancing.equal import Equal
from lim_jax.balancing.famo import FAMO
from lim_jax.balancing.fixed import Fixed
from lim_jax.balancing.gls import GeometricMean
from lim_jax.balancing.pcgrad import PCGrad
from lim_jax.balancing.rlw import RandomWeights
from lim_jax.balancing.stch import SmoothTchebycheff
from lim_jax.balancing.uncertainty import Uncertainty
from lim_jax.balancing.upgrad import UPGrad
from lim_jax.errors import UserError

__all__ = [
    "FAMO",
    "METHODS",
    "Balancing",
    "CAGrad",
    "DynamicWeightAverage",
    "Equal",
    "Fixed",
    "GeometricMean",
    "GradientBalancing",
    "LossBalancing",
    "PCGrad",
    "RandomWeights",
    "SmoothTchebycheff",
    "State",
    "UPGrad",
    "Uncertainty",
    "cosines",
    "create",
    "gram",
    "stacked",
]

_METHODS: dict[str, type[Balancing]] = {
    "uncertainty": Uncertainty,
    "equal": Equal,
    "uniform": Equal,  # its older name
    "fixed": Fixed,
    "dwa": DynamicWeightAverage,
    "gls": GeometricMean,
    "rlw": RandomWeights,
    "stch": SmoothTchebycheff,
    "famo": FAMO,
    "pcgrad": PCGrad,
    "cagrad": CAGrad,
    "upgrad": UPGrad,
}
METHODS = tuple(_METHODS)


def create(name: str, tasks: Sequence[str] = (), loss_weights: Sequence[float] = ()) -> Balancing:
    """Returns a method by its name; `loss_weights`, one per task of `tasks`, are for "fixed" alone.

    Raises:
      UserError: there is no such method.
    """
    if name not in _METHODS:
        raise UserError(f"loss_weighting is {name!r}; choose one of {', '.join(METHODS)}")
    return Fixed(tuple(zip(tasks, loss_weights, strict=True))) if name == "fixed" else _METHODS[name]()
