"""The proximal optimizer inside and around optax's own, and on a convex problem with a known solution."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export
from sklearn.linear_model import MultiTaskLasso

from lim_jax import sparsity
from lim_jax.errors import UserError
from lim_jax.sparsity.proximal import group_lasso

GROUPS = [("conv/kernel", sparsity.INPUT_CHANNELS)]
PARAMS = {
    "conv": {"kernel": jax.random.normal(jax.random.key(0), (3, 3, 6, 4)), "bias": jnp.ones(4)},
    "dense": {"kernel": jax.random.normal(jax.random.key(1), (4, 2))},
}
# Half of the input channels have gradients below the strength, half far above.
GRADIENTS = {
    "conv": {
        "kernel": jax.random.normal(jax.random.key(2), (3, 3, 6, 4)) * jnp.array([1e-4, 1, 1e-4, 1, 1e-4, 1])[:, None],
        "bias": jnp.ones(4),
    },
    "dense": {"kernel": jnp.ones((4, 2))},
}


def run(tx, steps=30, params=PARAMS, gradients=GRADIENTS):
    """Returns parameters and state after some steps with the same gradient."""

    @jax.jit
    def step(carry, _):
        params, state = carry
        updates, state = tx.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda: jax.lax.scan(step, (params, tx.init(params)), length=steps)[0])()


def zeros(params) -> list[bool]:
    (found,) = sparsity.zero_groups(params, GROUPS).values()
    return found.tolist()


HALF_SIZES = jnp.array([1e-4, 1, 1e-4, 1, 1e-4, 1])[:, None]
HALF = [True, False, True, False, True, False]
ARGUMENTS = {"learning_rate": 0.05, "strength": 0.05, "groups": GROUPS}


@pytest.mark.parametrize(
    "inner",
    [
        optax.adam(0.05),
        optax.adamw(0.05),
        optax.nadam(0.05),
        optax.amsgrad(0.05),
        optax.adabelief(0.05),
        optax.rmsprop(0.05),
        optax.adagrad(0.05),
        optax.adafactor(0.05, min_dim_size_to_factor=1000, multiply_by_parameter_scale=False),
        optax.chain(optax.clip_by_global_norm(100.0), optax.adam(0.05)),
    ],
    ids=["adam", "adamw", "nadam", "amsgrad", "adabelief", "rmsprop", "adagrad", "adafactor", "chain"],
)
def test_any_optimizer_with_a_second_moment(inner):
    params, _ = run(sparsity.proximal(inner, **ARGUMENTS), 60)
    assert zeros(params)[1::2] == [False] * 3
    plain, _ = run(inner, 60)
    np.testing.assert_allclose(params["dense"]["kernel"], plain["dense"]["kernel"], rtol=1e-6)
    np.testing.assert_allclose(params["conv"]["bias"], plain["conv"]["bias"], rtol=1e-6)


@pytest.mark.parametrize("inner", [optax.sgd(0.05), optax.lion(0.05)], ids=["sgd", "lion"])
def test_the_identity_metric_needs_no_second_moment(inner):
    params, _ = run(sparsity.proximal(inner, 0.05, 2.0, GROUPS, metric="identity"), 40)
    assert any(zeros(params))
    with pytest.raises(UserError, match="no second moment of conv/kernel"):
        run(sparsity.proximal(inner, **ARGUMENTS), 1)


@pytest.mark.parametrize(
    "transform",
    [
        lambda: sparsity.proximal_adam(**ARGUMENTS),
        lambda: optax.inject_hyperparams(sparsity.proximal_adam, static_args=("b1", "b2"))(**ARGUMENTS),
        lambda: optax.MultiSteps(sparsity.proximal_adam(**ARGUMENTS), 2),
        lambda: optax.apply_if_finite(sparsity.proximal_adam(**ARGUMENTS), 3),
        lambda: optax.multi_transform(
            {"sparse": sparsity.proximal_adam(**ARGUMENTS), "plain": optax.sgd(0.05)},
            {"conv": "sparse", "dense": "plain"},
        ),
        lambda: sparsity.proximal_adam(optax.constant_schedule(0.05), sparsity.warm_up(0.05, 5, 2), GROUPS),
        lambda: sparsity.proximal_adam(0.05, 0.05, sparsity.match_groups(PARAMS, GROUPS), weight_decay=0.1),
        lambda: sparsity.proximal_adam(**ARGUMENTS, bias_corrected=True),
        lambda: sparsity.proximal_adam(**ARGUMENTS, penalty="sparse_group_lasso"),
    ],
    ids=["adam", "inject", "multisteps", "finite", "multi", "schedules", "tree", "corrected", "sparse-group"],
)
def test_combinations_make_exact_zeros(transform):
    params, _ = run(transform(), 120)
    assert zeros(params) == HALF


def test_a_penalty_without_a_hash_has_the_same_step():
    found = []
    for gamma in (30.0, jnp.float32(30)):
        params, _ = run(sparsity.proximal_adam(**ARGUMENTS | {"penalty": sparsity.GroupMCP(gamma)}))
        found.append(params["conv"]["kernel"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("penalty", ["group_lasso", "group_mcp", "sparse_group_lasso"])
def test_a_platform_says_how_an_update_is_computed_and_not_what(penalty):
    wide = jax.random.normal(jax.random.key(3), (3, 3, 6, 70))  # lanes, and a rest
    params, gradients = {"conv": {"kernel": wide}}, {"conv": {"kernel": wide[::-1] * HALF_SIZES}}
    found = {}
    for platform in ("cpu", "gpu", "tpu"):
        tx = sparsity.proximal_adam(**ARGUMENTS | {"penalty": penalty, "platform": platform})
        found[platform] = run(tx, 20, params, gradients)[0]["conv"]["kernel"]
    for kernel in found.values():
        np.testing.assert_allclose(kernel, found["cpu"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("penalty", ["group_lasso", "group_mcp", "sparse_group_lasso", "l1"])
@pytest.mark.parametrize("metric", ["adam", "identity"])
def test_layers_of_equal_shapes_take_their_step_together_on_a_gpu(penalty, metric):
    """Three equal kernels, one of another size, two matrices that share their groups."""
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 3, 5, 4), "b": (3, 3, 5, 4), "c": (3, 3, 5, 4), "d": (1, 1, 6, 3), "e": (5, 7), "f": (5, 7)}
    params = {name: jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32) for name, shape in shapes.items()}
    gradients = [
        {name: jnp.asarray(rng.normal(0, 0.1, shape), jnp.float32) for name, shape in shapes.items()} for _ in range(5)
    ]
    groups = [("[abcd]", sparsity.INPUT_CHANNELS), ("[ef]", sparsity.GroupAxis(sparsity.ROWS, joint="rows"))]
    sizes = sparsity.layer_sizes(params, groups)
    original = sizes | {"b": sizes["b"]._replace(group_size=4 * sizes["b"].group_size)}  # so it is not like a and c
    found = {}
    strength = 2e-2 if metric == "adam" else 5.0
    for platform in ("cpu", "gpu"):
        tx = sparsity.proximal_adam(
            1e-2, strength, groups, penalty=penalty, metric=metric, original=original, platform=platform
        )
        update = jax.jit(tx.update)
        state, moved = tx.init(params), params
        for gradient in gradients:
            updates, state = update(gradient, state, moved)
            moved = optax.apply_updates(moved, updates)
        found[platform] = moved
    assert any((np.asarray(leaf) == 0).any() for leaf in jax.tree.leaves(found["cpu"]))
    for name in shapes:
        np.testing.assert_allclose(found["gpu"][name], found["cpu"][name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_equal_layers_add_no_operations_on_a_gpu():
    def reductions(number):
        params = {f"conv{index}": jnp.ones((1, 1, 32, 64)) for index in range(number)}
        tx = sparsity.proximal_adam(1e-3, 1e-3, [("conv", sparsity.INPUT_CHANNELS)], platform="gpu")
        lowered = export.export(jax.jit(tx.update), platforms=["cuda"])(params, tx.init(params), params)
        return lowered.mlir_module().count("stablehlo.reduce")

    assert reductions(12) == reductions(2)


def test_a_penalty_of_the_users_own_gets_the_form_in_its_block():
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Halved:
        def prox(self, block, rate, strength):
            seen.append(block.forms.name)
            return group_lasso(block, 0.5 * rate * strength)

    for platform in ("cpu", "gpu"):
        run(sparsity.proximal_adam(**ARGUMENTS | {"penalty": Halved(), "platform": platform}), 1)
    assert seen == ["cpu", "gpu"]


def test_learning_rate_is_edited_in_the_state_without_compiling_again():
    tx = optax.inject_hyperparams(sparsity.proximal_adam, static_args=("b1", "b2"))(**ARGUMENTS)
    step = jax.jit(lambda state: tx.update(GRADIENTS, state, PARAMS))
    state = tx.init(PARAMS)
    before, _ = step(state)
    state.hyperparams["learning_rate"] = jnp.asarray(0.025, jnp.float32)
    after, state = step(state)
    assert step._cache_size() == 1
    np.testing.assert_allclose(2 * after["dense"]["kernel"], before["dense"]["kernel"], rtol=1e-5)
    assert float(sparsity.current_strength(state)) == pytest.approx(0.05)


def test_bfloat16_gradients_and_seeds_under_vmap():
    gradients = jax.tree.map(lambda g: g.astype(jnp.bfloat16), GRADIENTS)
    params, _ = run(sparsity.proximal_adam(**ARGUMENTS), 120, gradients=gradients)
    assert zeros(params) == HALF and params["conv"]["kernel"].dtype == jnp.float32
    tx = sparsity.proximal_adam(**ARGUMENTS)
    stacked = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), PARAMS)
    states = jax.vmap(tx.init)(stacked)
    updates, _ = jax.vmap(tx.update, in_axes=(None, 0, 0))(GRADIENTS, states, stacked)
    single, _ = tx.update(GRADIENTS, tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["conv"]["kernel"][0], single["conv"]["kernel"], rtol=1e-4, atol=1e-6)


def test_nnx():
    model = nnx.Conv(6, 4, (3, 3), rngs=nnx.Rngs(0))
    tx = sparsity.proximal_adam(0.05, 1.0, [("kernel", sparsity.INPUT_CHANNELS)])
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    gradients = jax.tree.map(lambda p: 0.1 * p, nnx.state(model, nnx.Param))
    for _ in range(5):
        optimizer.update(model, gradients)
    assert sparsity.sparsity_summary(nnx.state(model, nnx.Param), [("kernel", -2)]).group_percent == 100


@pytest.mark.parametrize("metric", ["adam", "identity"])
def test_recovers_the_solution_of_an_independent_solver(metric):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((100, 20))
    weights = np.zeros((20, 4))
    weights[:5] = rng.standard_normal((5, 4))
    targets = features @ weights + 0.1 * rng.standard_normal((100, 4))
    alpha = 0.3
    solver = MultiTaskLasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=10000).fit(features, targets)
    x, y = jnp.asarray(features, jnp.float32), jnp.asarray(targets, jnp.float32)
    rate = optax.cosine_decay_schedule(0.05, 2000)
    groups, strength = [("w", sparsity.ROWS)], alpha / np.sqrt(4)
    if metric == "adam":
        tx = sparsity.proximal_adam(rate, strength, groups, bias_corrected=True)
    else:
        tx = sparsity.proximal(optax.sgd(rate), rate, strength, groups, metric="identity")

    def step(carry, _):
        params, state = carry
        gradients = jax.grad(lambda p: 0.5 * jnp.mean(jnp.sum((x @ p["w"] - y) ** 2, axis=1)))(params)
        updates, state = tx.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = {"w": jnp.zeros((20, 4))}
    (params, _), _ = jax.jit(lambda p: jax.lax.scan(step, (p, tx.init(p)), length=2000))(start)
    np.testing.assert_array_equal(np.any(np.asarray(params["w"]), axis=1), np.any(solver.coef_.T, axis=1))
    np.testing.assert_allclose(params["w"], solver.coef_.T, atol=1e-4)


@pytest.mark.parametrize("penalty", ["group_lasso", "l1"])
@pytest.mark.parametrize("strength", [0.05, sparsity.TargetSparsity(0.5, 20, initial_strength=0.01)])
def test_healing_keeps_zeros_and_moves_the_rest_like_adam(penalty, strength):
    tx = sparsity.proximal_adam(0.05, strength, GROUPS, penalty=penalty, weight_decay=0.01, healing_from=20)
    params, state = run(tx, steps=20)
    is_zero = jax.tree.map(lambda leaf: leaf == 0, params)
    assert is_zero["conv"]["kernel"].any()
    gradients = jax.tree.map(jnp.ones_like, GRADIENTS)  # pulls at everything
    inner = state.inner
    for _ in range(3):
        expected, inner = optax.adamw(0.05, weight_decay=0.01).update(gradients, inner, params)
        held = jax.tree.map(lambda update, zero: jnp.where(zero, 0, update), expected, is_zero)
        target = state.target
        updates, state = tx.update(gradients, state, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates, held)
        params = optax.apply_updates(params, updates)
        assert state.strength == 0 and state.target == target
    np.testing.assert_array_equal(params["conv"]["kernel"] == 0, is_zero["conv"]["kernel"])


def test_a_schedule_of_the_learning_rate_scales_the_threshold():
    rates = jnp.array([0.1, 0.05, 0.025])
    tx = sparsity.proximal(optax.sgd(0.1), lambda count: rates[count], 0.2, [("w", sparsity.ROWS)], metric="identity")
    params, gradients = {"w": jnp.ones((2, 9))}, {"w": jnp.zeros((2, 9))}
    params, _ = run(tx, 3, params, gradients)
    norm = 3.0 - 0.2 * 3.0 * float(rates.sum())  # the group's norm, minus λ sqrt(n) times each learning rate
    np.testing.assert_allclose(jnp.linalg.norm(params["w"], axis=1), norm, rtol=1e-6)


@pytest.mark.parametrize("strength", [0.05, sparsity.TargetSparsity(0.5, 10)], ids=["strength", "target"])
def test_state_can_be_donated(strength):
    tx = sparsity.proximal_adam(0.05, strength, GROUPS)

    def step(params, state):
        updates, state = tx.update(GRADIENTS, state, params)
        return optax.apply_updates(params, updates), state

    expected = jax.jit(step)(PARAMS, tx.init(PARAMS))
    params = jax.tree.map(jnp.copy, PARAMS)
    donated = jax.jit(step, donate_argnums=(0, 1))(params, tx.init(params))
    assert params["conv"]["kernel"].is_deleted()
    jax.tree.map(np.testing.assert_array_equal, donated, expected)


def test_replicas_under_pmap_agree_with_one_device():
    """Gradients differ between devices and are averaged; the state is replicated."""
    tx, devices = sparsity.proximal_adam(**ARGUMENTS), jax.local_devices()[:4]
    assert len(devices) == 4
    factors = jnp.array([0.0, 1.0, 1.0, 2.0])
    state = tx.init(PARAMS)

    def step(factor):
        gradients = jax.lax.pmean(jax.tree.map(lambda g: factor * g, GRADIENTS), "devices")
        updates, _ = tx.update(gradients, state, PARAMS)
        return optax.apply_updates(PARAMS, updates)

    replicas = jax.pmap(step, axis_name="devices", devices=devices)(factors)
    updates, _ = tx.update(GRADIENTS, state, PARAMS)
    expected = optax.apply_updates(PARAMS, updates)
    for device in range(4):
        jax.tree.map(
            lambda all_, one, d=device: np.testing.assert_allclose(all_[d], one, rtol=1e-5, atol=1e-6),
            replicas,
            expected,
        )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sparsity.proximal_adam(1.0, 1.0, GROUPS, penalty="l0"), "sparsity.penalty is 'l0'; choose one of"),
        (lambda: sparsity.proximal_adam(1.0, 1.0, GROUPS, metric="sgd"), "sparsity.metric is 'sgd'; choose one of"),
        (lambda: sparsity.TargetSparsity(70, 100), "sparsity.target is 70"),
        (lambda: sparsity.TargetSparsity(0.7, 100, start_step=200), "starts at step 200, but training has 100"),
        (lambda: sparsity.TargetSparsity(0.7, 100, initial_strength=0.0), "must be above 0"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_temporary_memory_does_not_grow_with_the_number_of_layers():
    def temporary(layers):
        params = {f"layer{i}": {"kernel": jax.ShapeDtypeStruct((256, 256), jnp.float32)} for i in range(layers)}
        tx = sparsity.proximal_adam(1e-3, 1e-3, [("kernel", 0)])
        state = jax.eval_shape(tx.init, params)
        return jax.jit(tx.update, donate_argnums=(0, 1)).lower(params, state, params).compile().memory_analysis()

    few, many = (temporary(layers).temp_size_in_bytes for layers in (4, 16))
    assert many < 1.5 * few
