from lim_jax.training import loss_weighting


def test_loss_weights_are_joined_to_the_parameters_and_split_off_again():
    params, log_variances = {"backbone": {"kernel": 1}, "heads_depth": {}}, loss_weighting.initial_log_variances("ab")
    learned = loss_weighting.join(params, log_variances)
    assert learned.keys() == {"backbone", "heads_depth", "loss_weighting"}
    assert loss_weighting.split(learned) == (params, {"a": 0, "b": 0})
