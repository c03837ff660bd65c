"""The learning rate over a run, step by step: what `config.learning_rate` is multiplied with.

`factor` is part of the optimizer, which counts its own steps: the threshold of the proximal step follows it as Adam's
step does. What goes by the history ("plateau") is applied to the base between epochs (`history.learning_rate`), and a
warm-up comes before either.
"""

import optax

from lim_jax.config import Config


def num_steps(epochs: float, config: Config, steps_per_epoch: int) -> int:
    """Returns how many steps of the optimizer, each of `config.accumulation_steps` batches, some epochs have."""
    return round(epochs * steps_per_epoch / config.accumulation_steps)


def factor(config: Config, steps_per_epoch: int) -> optax.Schedule | None:
    """Returns the factor of the base rate by the number of the optimizer's steps before; None if it is always 1.

    The first `config.warmup_epochs` rise linearly to 1, beginning above 0; the schedule has the rest of the run:
    "step" multiplies by `step_factor` every `step_epochs`, "poly" is `(1 - progress) ** poly_power`, and "cosine" half
    a period; these two come down to 0 just after the last step.

    Args:
      config: of the run.
      steps_per_epoch: its batches per epoch.
    """
    warm_up = num_steps(config.warmup_epochs, config, steps_per_epoch)
    rest = max(num_steps(config.num_epochs, config, steps_per_epoch) - warm_up, 1)
    schedule = config.learning_rate_schedule
    if schedule == "step":
        interval = max(num_steps(config.step_epochs, config, steps_per_epoch), 1)
        after = optax.exponential_decay(1.0, interval, config.step_factor, staircase=True)
    elif schedule == "poly":
        after = optax.polynomial_schedule(1.0, 0.0, config.poly_power, rest)
    elif schedule == "cosine":
        after = optax.cosine_decay_schedule(1.0, rest)
    else:
        after = optax.constant_schedule(1.0)
        if not warm_up:
            return None
    if not warm_up:
        return after
    return optax.join_schedules([optax.linear_schedule(1 / warm_up, 1.0, max(warm_up - 1, 1)), after], [warm_up])
