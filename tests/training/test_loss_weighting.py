import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lim_jax.training import loss_weighting

LOSSES = {"segmentation": 2.5, "depth": 0.04, "normals": 0.3}
LOG_VARIANCES = {"segmentation": 0.7, "depth": -1.2, "normals": 0.0}


def scalars(values):
    return {task: jnp.float32(value) for task, value in values.items()}


def present(*tasks):
    return {task: jnp.float32(10 if task in tasks else 0) for task in LOSSES}


@pytest.mark.parametrize("tasks", [("segmentation", "depth", "normals"), ("depth",), ()])
def test_equation_2_over_the_tasks_that_are_present(tasks):
    total = loss_weighting.combine(scalars(LOSSES), present(*tasks), scalars(LOG_VARIANCES))
    expected = sum(np.exp(-LOG_VARIANCES[task]) * LOSSES[task] + LOG_VARIANCES[task] for task in tasks)
    assert total.shape == () and total == pytest.approx(expected, rel=1e-6)


def test_without_log_variances_it_is_the_sum():
    total = loss_weighting.combine(scalars(LOSSES), present("segmentation", "normals"))
    assert total == pytest.approx(2.8)


def test_initial_log_variances_give_the_sum():
    initial = loss_weighting.initial_log_variances(LOSSES)
    counts = present(*LOSSES)
    assert loss_weighting.combine(scalars(LOSSES), counts, initial) == loss_weighting.combine(scalars(LOSSES), counts)


@pytest.mark.parametrize("absent_loss", [0.3, np.nan, np.inf])
def test_an_absent_task_gets_no_gradient(absent_loss):
    losses = scalars(LOSSES | {"normals": absent_loss})
    total, (loss_gradient, variance_gradient) = jax.value_and_grad(
        lambda losses, log_variances: loss_weighting.combine(losses, present("depth"), log_variances), argnums=(0, 1)
    )(losses, scalars(LOG_VARIANCES))
    assert np.isfinite(total)
    assert loss_gradient["normals"] == variance_gradient["normals"] == 0
    scale = np.exp(1.2)
    assert loss_gradient["depth"] == pytest.approx(scale)
    assert variance_gradient["depth"] == pytest.approx(1 - scale * 0.04)


def test_loss_weights_are_joined_to_the_parameters_and_split_off_again():
    params, log_variances = {"backbone": {"kernel": 1}, "heads_depth": {}}, scalars(LOG_VARIANCES)
    learned = loss_weighting.join(params, log_variances)
    assert learned.keys() == {"backbone", "heads_depth", "loss_weighting"}
    assert loss_weighting.split(learned) == (params, log_variances)
