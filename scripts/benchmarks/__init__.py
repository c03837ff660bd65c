"""What `scripts/benchmark.py` measures, one concept per module.

`job` says what is run and in which sizes. `lim_jax_code`, `plain_flax` and `paper_code` are the contenders: each
prepares a job. `worker` is the process that runs one contender, `comparison` lets several take turns, and the other
modules are one subcommand each.
"""
