"""The benchmark computes ratios, exponents and kernels right, and notices a peer that is wrong."""

import json
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxmnist as jm

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
curves, floors, kernels, rounds, table, picture, peers, problem = (
    import_module(f"benchmarks.{name}")
    for name in (
        *("curves", "floors", "kernels", "rounds"),
        *("table", "picture", "peers", "problem"),
    )
)
STEPS = 9


@pytest.fixture(autouse=True)
def _other_peoples_functions():
    """They add a bias to a batch."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="session")
def small():
    return problem.load(images=64 * (STEPS + 1))


@pytest.fixture(scope="session")
def curve(small):
    return curves.reference(small, STEPS)


def test_programs_take_turns_and_the_warm_up_is_not_counted(capsys):
    called = []

    def program(name):
        def run():
            called.append(name)
            return {"seconds": float(len(called))}

        return run

    found = rounds.in_turns({name: program(name) for name in "ab"}, rounds=2, pause=0)
    assert called == list("ababab")
    assert found == {"a": {"seconds": [3.0, 5.0]}, "b": {"seconds": [4.0, 6.0]}}
    assert "round 2 of 2" in capsys.readouterr().out


def test_ratios_are_of_the_same_round_and_not_of_medians():
    ratios = rounds.ratios([2.0, 30.0, 1.0], [1.0, 10.0, 4.0])
    assert ratios == [2.0, 3.0, 0.25]
    assert rounds.summary(ratios)["median"] == 2.0


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 1.3])
def test_an_exponent_is_found_in_noise(exponent):
    sizes = np.array([16, 32, 64, 128, 256])
    noise = np.array([1.01, 0.99, 1.0, 1.02, 0.98])
    fit = rounds.power_law(sizes, 0.7 * sizes**exponent * noise)
    assert abs(fit["exponent"] - exponent) < 0.02
    assert 0 < fit["standard_error"] < 0.01
    exact = rounds.power_law(sizes, 0.7 * sizes**exponent)
    assert abs(exact["exponent"] - exponent) < 1e-3


def test_operations_of_the_tutorials_epoch():
    whole = problem.load()
    assert floors.training_operations(whole) == pytest.approx(63.5e9, rel=0.01)
    weights = 784 * 256 + 256 * 128 + 128 * 64 + 64 * 20 + 20 * 10
    assert floors.evaluation_operations(whole) == 2 * 10_000 * weights


def right(small):
    return peers.build("NumPy by hand", small)


def faster(small):
    return peers.build("NumPy by hand", small._replace(learning_rate=0.1 * (1 + 1e-3)))


def unnormalized(small):
    brighter = np.clip(small.train_images, 0, 254) + 1
    return peers.build("NumPy by hand", small._replace(train_images=brighter.astype(np.uint8)))


def other_start(small):
    first, *others = small.weights
    changed = [(first[0] * np.float32(1 + 1e-2), first[1]), *others]
    return peers.build("NumPy by hand", small._replace(weights=changed))


def in_pairs(small):
    def train(order):
        swapped = order.copy()
        swapped[[0, 64]] = swapped[[64, 0]]
        return peer.train(swapped)

    peer = right(small)
    return peer._replace(train=train)


def without_the_last(small):
    def train(order):
        return peer.train(order[: STEPS * 64])

    peer = right(small)
    return peer._replace(train=train)


def not_a_number(small):
    peer = right(small)
    return peer._replace(train=lambda order: peer.train(order) * np.nan)


def another_test_set(small):
    tested = small._replace(test_images=small.test_images[:-1], test_labels=small.test_labels[:-1])
    return peers.build("NumPy by hand", tested)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NumPy by hand", "JAX, a jitted step per batch", "jaxmnist"])
def test_a_right_peer_passes(small, curve, name):
    share = curves.check(name, peers.build(name, small), curve)
    assert 0 < share < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (faster, "the loss of step"),
        (unnormalized, "the loss of step 0"),
        (other_start, "the loss of step 0"),
        (in_pairs, "the loss of step 0"),
        (without_the_last, r"shape \(9,\); the reference has \(10,\)"),
        (not_a_number, "the loss of step 0 is nan"),
        (another_test_set, "the test loss"),
    ],
)
def test_a_wrong_peer_is_an_error(small, curve, wrong, words):
    with pytest.raises(curves.WrongPeerError, match=f"^peer: .*{words}"):
        curves.check("peer", wrong(small), curve)


@pytest.mark.slow
def test_pytorch_is_right_as_the_tutorial_has_it_in_memory_and_many_at_once(torch, small, curve):
    many_torch = import_module("benchmarks.many_torch")
    for name in ("the tutorial's program", "PyTorch in memory"):
        curves.check(name, peers.build(name, small), curve)
    for build in (many_torch.mapped, many_torch.stacked):
        measured = build(small, 2, torch.device("cpu"))()
        many_torch.check_first(build.__name__, measured, small)
        with pytest.raises(ValueError, match="wrong: the losses are"):
            many_torch.check_first("wrong", 1.01 * measured, small)


@pytest.mark.slow
def test_keras_and_equinox_are_right(small, curve):
    for name in ("Equinox", "Keras on JAX"):
        if not peers.missing(name):
            curves.check(name, peers.build(name, small), curve)


def test_what_a_peer_lacks_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert peers.compiler() is None
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "keras" else object()
    )
    assert peers.missing("torch.compile").startswith("there is no C++ compiler")
    assert peers.missing("Keras on JAX") == "keras is not installed"
    assert peers.missing("jaxmnist") is None


LOOP = """
HloModule example

%body (p: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %p = (s32[], f32[4,4]{1,0}) parameter(0)
  %x = f32[4,4]{1,0} get-tuple-element(%p), index=1
  %y = f32[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={1}
  %z = f32[4,4]{1,0} fusion(%y), kind=kCustom, calls=%fused
  %g = (f32[4,4]{1,0}, s8[16]{0}) custom-call(%z, %z), custom_call_target="__cublas$gemm"
  %c = f32[4,4]{1,0} call(%z), to_apply=%called
  ROOT %t = (s32[], f32[4,4]{1,0}) tuple(%i, %c)
}

%fused (q: f32[4,4]) -> f32[4,4] {
  %q = f32[4,4]{1,0} parameter(0)
  ROOT %d = f32[4,4]{1,0} dot(%q, %q), lhs_contracting_dims={1}
}

%called (r: f32[4,4]) -> f32[4,4] {
  %r = f32[4,4]{1,0} parameter(0)
  %s = f32[4,4]{1,0} copy(%r)
  ROOT %o = f32[4,4]{1,0} add(%s, %s)
}

ENTRY %main (a: (s32[], f32[4,4])) -> (s32[], f32[4,4]) {
  %a = (s32[], f32[4,4]{1,0}) parameter(0)
  ROOT %w = (s32[], f32[4,4]{1,0}) while(%a), condition=%cond, body=%body
}
"""


def test_kernels_of_a_loop_are_counted():
    counted = kernels.of_step(LOOP)
    assert counted == Counter(
        {"dot": 1, "dot in a fusion": 1, "gemm __cublas$gemm": 1, "copy": 1, "add": 1}
    )
    assert kernels.products(counted) == 3
    with pytest.raises(ValueError, match="no loop with a matrix product"):
        kernels.of_step("HloModule empty\n")


# Forward 5, by the weights 5, by the inputs 4: the first layer's images have no derivative.
PRODUCTS = 14
# Besides the products: images and labels read and normalised 2, five ReLUs and their derivatives
# 8, sums of the biases' gradients 5, the loss, its derivative and the accuracy 12, counters 3,
# and copies of small layers that are read after their update 6; then the updates of 10 leaves,
# each a fusion for every array that an optimizer writes; and two powers for Adam, with their
# reciprocals.
OTHERS = 36


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "arrays", "corrections"), [("sgd", 1, 0), ("adam", 3, 4)])
def test_a_step_runs_few_kernels_and_talks_to_no_host(small, optimizer, arrays, corrections):
    config = jm.Config(optimizer=optimizer, epochs=1)
    part = jax.tree.map(lambda a: jnp.asarray(a[:224]), (small.train_images, small.train_labels))
    arguments = jax.device_put((jax.random.key(0), jm.default_hyper(config), (part, part)))
    compiled = jax.jit(jm.make_train(config)).lower(*arguments).compile()
    counted = kernels.of_step(compiled.as_text())
    assert kernels.products(counted) == PRODUCTS
    assert sum(counted.values()) <= PRODUCTS + OTHERS + 10 * arrays + corrections
    for each in kernels.loops(compiled.as_text()).values():
        assert not kernels.TRANSFERS & set(each)
        assert not any("callback" in kind for kind in each)
    with jax.transfer_guard("disallow"):
        state, history = jax.block_until_ready(compiled(*arguments))
    assert np.isfinite(history.eval_loss).all()
    assert state.params


@pytest.mark.slow
def test_the_floors_are_the_products_and_nothing_else(small):
    """A loop of which the compiler takes the products out would be a floor of nothing."""
    few = small._replace(test_images=small.test_images[:400], test_labels=small.test_labels[:400])
    for (program, arguments), products in (
        (floors.compiled_training(few), PRODUCTS),
        (floors.compiled_evaluation(few, 128), 5),
    ):
        counted = kernels.of_step(program.as_text())
        assert kernels.products(counted) == products
        # One number of each operand follows the turn before; the loop's counter, and copies.
        assert sum(counted.values()) <= products + 5 + 8
        (finite,) = {bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(program(*arguments))}
        assert finite


@pytest.mark.slow
def test_the_table_and_the_picture_are_drawn_from_the_json(tmp_path):
    one = rounds.summary([1.0, 2.0, 3.0])
    made = {
        **{"command": "python x", "machine": "m", "processor": "p", "versions": {"jax": "1"}},
        "seconds_it_took": 3,
    }
    about = {
        "parts": {
            "epoch": {
                **made,
                "left_out": {"torch.compile": "there is no C++ compiler"},
                "checked": {"steps": 101},
                "seconds": {"jaxmnist": {"training": one, "evaluation": one}},
                "ratios": {"epoch / jaxmnist's": {"NumPy by hand": one}},
            },
            "accuracy": {
                **made,
                "test_accuracy": 0.97,
                "seconds": {"jaxmnist": one},
                "epochs": {"jaxmnist": [4, 5, 4]},
            },
            "memory": {**made, "peak_mebibytes": {"jaxmnist": 400.2}},
            "models": {
                **made,
                "images": [7500, 1250],
                "ratios": {"a model's / a run of its own, jaxmnist.fit": {"vmap, 4": one}},
            },
            "growth": {
                **made,
                "by_size": {
                    "width": {
                        "seconds": {"64": one, "128": one},
                        "exponent": 1.5,
                        "standard_error": 0.1,
                    }
                },
            },
        }
    }
    about = json.loads(json.dumps(about))
    page = table.markdown(about)
    for line in (
        "| NumPy by hand | 2 (1 to 3) |",
        "| jaxmnist: training | 2 (1 to 3) |",
        "Left out: torch.compile, because there is no C++ compiler.",
        "| jaxmnist | 2 (1 to 3) | 4, 5, 4 |",
        "| jaxmnist | 400 |",
        "| vmap, 4 | 2 (1 to 3) |",
        "| width | 1.50 ± 0.10 | 64: 2, 128: 2 |",
    ):
        assert line in page.splitlines()
    picture.draw(about, tmp_path / "benchmark.png")
    first = (tmp_path / "benchmark.png").read_bytes()
    picture.draw(about, tmp_path / "benchmark.png")
    assert first == (tmp_path / "benchmark.png").read_bytes()
