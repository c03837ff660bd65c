"""Configurations: checked before anything runs, kept with the run."""

from lim_jax.config.checks import Config, checked, flat, load, refuse_changes, save, with_value

__all__ = ["Config", "checked", "flat", "load", "refuse_changes", "save", "with_value"]
