"""`python -m lim_jax.data`, the older name of `python -m lim_jax.look`."""

from lim_jax import look
from lim_jax.runtime import cli

if __name__ == "__main__":
    cli.run(look.main, look.define_flags)
