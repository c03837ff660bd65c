"""lim_jax: sparse multi-task networks in JAX, from group lasso during training to a compact network."""

__version__ = "0.1.0"
