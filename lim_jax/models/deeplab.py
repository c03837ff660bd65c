"""DeepLab heads of the dense tasks: atrous spatial pyramid pooling, then a small decoder.

DeepLabv3 decodes at the resolution of the features. DeepLabv3+ (Chen et al. 2018, arXiv 1802.02611) also reads what the
backbone's first stage emits, where edges are sharper: narrowed to a few channels, and beside the doubled pyramid's
result, it goes into the last convolutions (one of 3×3 here, two there).

Names: `aspp_pointwise`, `aspp_dilated1..`, `aspp_pooled`, `project`, of DeepLabv3+ `skip`, and `refine` (each `kernel`
and `bn`), and `logits` (`kernel` and `bias`).
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from lim_jax import ops
from lim_jax.models import layers


class DeepLab(nn.Module):
    """Maps features to one prediction per cell: DeepLabv3, or with `skip_channels` DeepLabv3+.

    Attributes:
      num_outputs: channels of the prediction.
      channels: width of all inner convolutions.
      rates: dilations of the pyramid's 3×3 convolutions, in cells.
      dropout: rate after the pyramid's 1×1 convolution and after the projection.
      dtype: dtype of the computation; logits are float32.
      skip_channels: to how many channels what the first stage emits is narrowed; 0: that is not read.
      inputs: the features that it reads; None = all.
      skip_inputs: the channels of what the first stage emits that it reads; None = all.
      constant: whether there were features that are constant; the pyramid's 3×3 convolutions then have a
        `constant_kernel` (`layers.Conv`).
      folded: batch norm is folded into the convolutions, for inference only.
      forms: how everything is computed.
    """

    last_layer: ClassVar[str] = "logits"  # whose bias is added to the logits

    num_outputs: int
    channels: int = 256
    rates: tuple[int, ...] = (12, 24, 36)
    dropout: float = 0.3
    dtype: str = "float32"
    skip_channels: int = 0
    inputs: tuple[int, ...] | None = None
    skip_inputs: tuple[int, ...] | None = None
    constant: bool = False
    folded: bool = False
    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(
        self,
        features: jax.Array,
        train: bool = False,
        axis_name: str | None = None,
        shallow: jax.Array | None = None,
    ) -> jax.Array:
        """Maps features (N, H, W, C) to raw logits, float32 (N, H, W, num_outputs).

        With `skip_channels`, `shallow` is what the first stage emits, (N, Y, X, c) where H = ceil(Y / 2) and
        W = ceil(X / 2), and logits are (N, Y, X, num_outputs).

        Training needs a `dropout` key, the same on every device of `axis_name`.
        """

        def conv(name: str, x: jax.Array, kernel_size: int = 1, dilation: int = 1, **attributes) -> jax.Array:
            fixed = {"dtype": self.dtype, "folded": self.folded, "forms": self.forms, "name": name}
            attributes = {"features": self.channels, "kernel_size": kernel_size, "dilation": dilation} | attributes
            layer = layers.ConvNorm(**attributes, **fixed)
            return ops.relu(layer(x, train, axis_name), train=train, forms=self.forms)

        def dropout(name: str, x: jax.Array) -> jax.Array:
            return layers.Dropout(self.dropout, name=name)(x, train, axis_name)

        features = layers.select(features, self.inputs)
        branches = [dropout("aspp_pointwise_dropout", conv("aspp_pointwise", features))]
        for i, rate in enumerate(self.rates, start=1):
            branches.append(conv(f"aspp_dilated{i}", features, 3, rate, constant=self.constant))
        # Bilinear upsampling of a single cell is a constant.
        pooled = conv("aspp_pooled", jnp.mean(features, axis=(1, 2), keepdims=True))
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = dropout("project_dropout", conv("project", jnp.concatenate(branches, axis=-1)))
        if self.skip_channels:
            assert shallow is not None
            skip = conv("skip", shallow, features=self.skip_channels, inputs=self.skip_inputs)
            x = jnp.concatenate([layers.doubled(x, (skip.shape[1], skip.shape[2])), skip], axis=-1)
        x = conv("refine", x, 3)
        return layers.Conv(self.num_outputs, dtype=self.dtype, forms=self.forms, name="logits")(x).astype(jnp.float32)
