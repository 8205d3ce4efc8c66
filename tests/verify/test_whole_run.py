"""`verify.training`: runs that agree but for rounding pass, and a wrong one is located."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxmnist as jm
from jaxmnist import verify
from jaxmnist.verify.whole_run import jax_run, torch_run

CONFIG = jm.Config(
    hidden=(16, 8), epochs=3, batch_size=64, eval_batch_size=48, convention="pytorch"
)
BATCHES = 11
PARTS = ["batch loss", "batch accuracy", "epoch loss", "epoch accuracy", "weights"]


@pytest.fixture(scope="module")
def dataset(first_digits) -> jm.Dataset:
    """Real digits, in numbers that leave short last batches: 10 of 64 and 5 of 48."""
    return first_digits(650, 245)


def config_for(optimizer, convention, epochs):
    rate = jm.optim.hyperparameters(optimizer)["learning_rate"]
    return dataclasses.replace(
        CONFIG, optimizer=optimizer, convention=convention, epochs=epochs, learning_rate=rate
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", jm.optim.NAMES)
def test_three_epochs_agree_with_torch_optim_but_for_rounding(dataset, optimizer):
    result = verify.training(config_for(optimizer, "pytorch", 3), dataset)
    assert result.passed, str(result)
    assert (result.verdict, result.first_divergence) == ("rounding", None)
    assert [part.name for part in result] == PARTS
    assert [part.steps for part in result] == [3 * BATCHES, 3 * BATCHES, 3, 3, 1]
    assert (result.steps_per_epoch, result.error.size) == (BATCHES, 3 * BATCHES)
    assert result.error.max() == result["batch loss"].max_error < 1e-13
    assert result["batch accuracy"].max_error < 1e-15
    assert result["weights"].max_error < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", jm.optim.NAMES)
def test_the_tutorials_conventions_agree_with_its_formulas(dataset, optimizer):
    config = dataclasses.replace(config_for(optimizer, "document", 1), learning_rate=None)
    result = verify.training(config, dataset)
    assert result.passed, str(result)
    assert result["weights"].max_error < 1e-11


@pytest.mark.slow
def test_float32_agrees_within_the_error_growth_of_one_ulp_of_float32(dataset):
    result = verify.training(CONFIG, dataset, dtype="float32", epochs=2)
    assert result.passed, str(result)
    assert 1e-8 < result.error.max() < 1e-5
    assert jnp.zeros(1).dtype == jnp.float32


def test_the_perturbation_is_one_ulp_up_or_down():
    weights = np.random.default_rng(0).standard_normal(1000)
    for dtype in (np.float32, np.float64):
        start = weights.astype(dtype)
        with jax.enable_x64(dtype == np.float64):
            perturbed = np.asarray(jax_run.perturbed({"w": jnp.asarray(start)}, seed=1)["w"])
            again = np.asarray(jax_run.perturbed({"w": jnp.asarray(start)}, seed=1)["w"])
        assert perturbed.dtype == dtype
        np.testing.assert_array_equal(perturbed, again)
        up = perturbed == np.nextafter(start, dtype(np.inf))
        down = perturbed == np.nextafter(start, dtype(-np.inf))
        assert np.all(up | down)
        assert 400 < up.sum() < 600


@pytest.mark.slow
def test_what_is_allowed_grows_with_the_perturbation(dataset):
    config = dataclasses.replace(CONFIG, learning_rate=0.1)
    result = verify.training(config, dataset)
    assert result.passed, str(result)
    assert result.perturbation is not None
    eps = np.finfo(float).eps
    running = np.maximum.accumulate(np.maximum(result.perturbation, eps))
    np.testing.assert_array_equal(result.allowed, 10 * running)
    assert 0 < result.perturbation.max() < 1e-12
    assert result["batch loss"].growth == running[-1]
    assert result["batch loss"].tolerance == result.allowed[-1]


@pytest.mark.slow
def test_without_a_perturbed_run_half_of_the_digits_must_agree(dataset):
    result = verify.training(CONFIG, dataset, epochs=1, perturb=False)
    assert result.passed
    assert result.perturbation is None
    assert set(result.allowed) == {2.0**-26}
    wrong = verify.training(CONFIG, dataset, epochs=1, perturb=False, reference=nudged(3, 1e-3))
    assert not wrong.passed
    assert wrong.verdict is None


def nudged(at, by, parameter=-1):
    """PyTorch's SGD, whose update number `at` also moves one bias a little."""

    class Nudged(torch.optim.SGD):
        made = 0

        def step(self, closure=None):
            super().step(closure)
            if self.made == at:
                self.param_groups[0]["params"][parameter].data[0] += by
            self.made += 1

    return lambda parameters: Nudged(parameters, 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "by"), [(0, 1e-12), (17, 1e-9), (10, 1e-3), (31, 1e-11)])
def test_the_first_divergent_step_is_the_one_after_the_wrong_update(dataset, at, by):
    result = verify.training(CONFIG, dataset, reference=nudged(at, by))
    assert not result.passed
    assert result.verdict == "a bug"
    divergence = result.first_divergence
    assert divergence is not None
    # Update k is made after the loss of step k; but if it is its epoch's last, the evaluation
    # that follows sees it first.
    if (at + 1) % BATCHES:
        position = ((at + 1) // BATCHES, (at + 1) % BATCHES)
        assert divergence[:3] == (at + 1, "loss", position)
    else:
        assert divergence[:3] == (at, "eval_loss", (at // BATCHES,))
    assert np.all(result.error[: at + 1] <= result.allowed[: at + 1])
    assert "a bug" in str(result)


@pytest.mark.slow
def test_a_wrong_last_update_shows_in_the_evaluation_and_the_weights(dataset):
    result = verify.training(CONFIG, dataset, reference=nudged(3 * BATCHES - 1, 1e-9))
    assert result["batch loss"].passed
    assert result["batch accuracy"].passed
    assert not result["epoch loss"].passed
    weights = result["weights"].first_divergence
    assert weights is not None
    assert weights[:3] == (3 * BATCHES - 1, "4.bias", (0,))


@pytest.mark.slow
def test_another_optimizer_is_told_apart(dataset):
    config = config_for("rmsprop", "pytorch", 1)
    rate = config.learning_rate

    def with_eps_inside(parameters):
        class Inside(torch.optim.RMSprop):
            """Its average is not corrected either, but eps is inside the root."""

            def step(self, closure=None):
                with torch.no_grad():
                    for p in self.param_groups[0]["params"]:
                        s = self.state.setdefault(p, {"s": torch.zeros_like(p)})["s"]
                        s.mul_(0.99).addcmul_(p.grad, p.grad, value=0.01)
                        p.sub_(rate * p.grad / (s + 1e-8).sqrt())

        return Inside(parameters)

    result = verify.training(config, dataset, reference=with_eps_inside)
    assert result.verdict == "a bug"
    assert result.first_divergence is not None
    assert result.first_divergence.step == 1
    same = verify.numpy_reference("rmsprop", rate, "pytorch")
    assert verify.training(config, dataset, reference=same).passed


@pytest.mark.slow
def test_another_order_is_told_apart(dataset, monkeypatch):
    right = jax_run.permutation
    monkeypatch.setattr(jax_run, "permutation", lambda key, size: jnp.roll(right(key, size), 1))
    result = verify.training(CONFIG, dataset, epochs=1)
    # Here both frameworks get the rolled order for their batches, but `make_train` keeps its own.
    assert result["batch loss"].passed
    assert not result["epoch loss"].passed
    assert not result["weights"].passed


@pytest.mark.slow
def test_an_average_over_samples_is_told_apart(dataset, monkeypatch):
    monkeypatch.setattr(
        torch_run.Batches,
        "means",
        lambda self, values: dict.fromkeys(
            ("", "_per_sample"), np.average(values, axis=1, weights=self.sizes)
        ),
    )
    result = verify.training(CONFIG, dataset, epochs=1)
    assert [part.name for part in result if not part.passed] == ["epoch loss", "epoch accuracy"]


def test_an_accuracy_may_differ_only_by_samples_that_are_nearly_tied():
    margins = [[np.array([0.5, 1e-12, 0.0, 0.2]), np.array([1e-3, 1e-14])]]
    batches = torch_run.Batches(np.ones((1, 2)), np.ones((1, 2)), np.array([4, 2]), margins)
    shares = batches.undecided(np.array([[1e-10, 1e-15]]))
    np.testing.assert_array_equal(shares, [[0.5, 0.0]])
    means = batches.means(shares)
    assert means[""] == [0.25]
    np.testing.assert_allclose(means["_per_sample"], [2 / 6])


@pytest.mark.parametrize("perturb", [True, False])
def test_a_batch_that_is_not_made_is_found(dataset, monkeypatch, perturb):
    right = jax_run._all_batches

    def without_the_short_batch(*arguments):
        state, metrics = right(*arguments)
        return state, jax.tree.map(lambda values: values[:, :-1], metrics)

    monkeypatch.setattr(jax_run, "_all_batches", without_the_short_batch)
    result = verify.training(CONFIG, dataset, epochs=1, perturb=perturb)
    assert result.first_divergence is not None
    assert result.first_divergence[:3] == (BATCHES - 1, "loss", (0, BATCHES - 1))
    assert np.isnan(result.first_divergence.actual)


def test_margins_are_relative_to_the_largest_logit():
    logits = np.array([[1.0, -4.0, 3.0], [2.0, 2.0, 0.0]])
    np.testing.assert_array_equal(torch_run._margins(logits), [0.5, 0.0])
    assert np.all(torch_run._margins(np.ones((2, 1))) == np.inf)


@pytest.mark.slow
def test_a_network_without_hidden_layers(dataset):
    assert verify.training(dataclasses.replace(CONFIG, hidden=()), dataset, epochs=1).passed


def test_a_loss_that_breaks_in_both_frameworks_is_refused(dataset):
    config = dataclasses.replace(CONFIG, learning_rate=1e200)
    message = r"the loss becomes nan here and nan in PyTorch, both at step \d+"
    with pytest.raises(jm.InputError, match=message):
        verify.training(config, dataset, epochs=1)


def test_a_loss_that_breaks_in_one_framework_is_a_divergence(dataset):
    result = verify.training(CONFIG, dataset, epochs=1, reference=nudged(4, np.nan))
    divergence = result.first_divergence
    assert divergence is not None
    assert (divergence.step, divergence.leaf) == (5, "loss")
    assert np.isnan(divergence.expected)
    assert result.max_error == np.inf


def test_unusable_input_is_named(dataset, monkeypatch):
    with pytest.raises(jm.InputError, match="dtype is 'float16'"):
        verify.training(CONFIG, dataset, dtype="float16")
    with pytest.raises(jm.InputError, match="batch_size is 651; the data has only 650"):
        verify.training(dataclasses.replace(CONFIG, batch_size=651), dataset)
    with pytest.raises(jm.InputError, match="epochs is 0"):
        verify.training(CONFIG, dataset, epochs=0)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(jm.InputError, match=r"pip install 'jaxmnist\[torch\]'"):
        verify.training(CONFIG, dataset)
