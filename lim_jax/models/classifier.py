"""Heads of the image-level tasks: the paper's small network, and a linear one.

Names: `conv`, `fc1`, `fc2` of the paper's, `conv` of the linear one, each `kernel` and `bias`.
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from lim_jax import ops
from lim_jax.errors import UserError
from lim_jax.models import layers


class Classifier(nn.Module):
    """The paper's: one convolution, global pooling, two dense layers; all without normalisation.

    Attributes:
      num_outputs: length of the prediction.
      channels: width of the convolution.
      hidden: width of the inner dense layer.
      dropout: rates before the first and before the second dense layer.
      dtype: dtype of the computation; logits are float32.
      inputs, constant: of the convolution, as of `layers.Conv`.
      forms: how everything is computed.
    """

    last_layer: ClassVar[str] = "fc2"  # whose bias is added to the logits

    num_outputs: int = 1
    channels: int = 64
    hidden: int = 32
    dropout: tuple[float, float] = (0.6, 0.4)
    dtype: str = "float32"
    inputs: tuple[int, ...] | None = None
    constant: bool = False
    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Maps features (N, H, W, C), H and W at least 2, to raw logits, float32 (N, num_outputs).

        Training needs a `dropout` key, the same on every device of `axis_name`.
        """
        if min(features.shape[1:3]) < 2:
            raise UserError("images are too small for the classifier head: use 9 pixels or more in height and width")
        read = {"inputs": self.inputs, "constant": self.constant}
        x = layers.Conv(self.channels, 3, dtype=self.dtype, forms=self.forms, name="conv", **read)(features)
        x = jnp.mean(ops.max_pool(ops.relu(x), window=2, stride=2, forms=self.forms), axis=(1, 2))
        x = layers.Dropout(self.dropout[0], name="dropout1")(x, train, axis_name)
        dense = functools.partial(nn.Dense, dtype=self.dtype, kernel_init=layers.kernel_init)
        x = ops.relu(dense(self.hidden, name="fc1")(x))
        x = layers.Dropout(self.dropout[1], name="dropout2")(x, train, axis_name)
        return dense(self.num_outputs, name="fc2")(x).astype(jnp.float32)


class Linear(nn.Module):
    """A linear function of the mean of the features over all places, as a ResNet that classifies ends with.

    It is a 1×1 convolution of that mean, so that it is narrowed as other convolutions that read features are.

    Attributes:
      num_outputs: length of the prediction.
      dtype: dtype of the computation; logits are float32.
      inputs, constant: as of `layers.Conv`.
      forms: how everything is computed.
    """

    last_layer: ClassVar[str] = "conv"  # whose bias is added to the logits

    num_outputs: int = 1
    dtype: str = "float32"
    inputs: tuple[int, ...] | None = None
    constant: bool = False
    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(self, features: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Maps features (N, H, W, C) to raw logits, float32 (N, num_outputs); training makes no difference."""
        del train, axis_name
        read = {"inputs": self.inputs, "constant": self.constant}
        pooled = jnp.mean(features, axis=(1, 2), keepdims=True)
        conv = layers.Conv(self.num_outputs, dtype=self.dtype, forms=self.forms, name="conv", **read)
        return conv(pooled)[:, 0, 0].astype(jnp.float32)
