"""Sweeps: which runs they are, that each is the single run, and what is refused."""

import dataclasses
import itertools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import sweep, training
from jaxmnist.sweep import axes, programs, results
from jaxmnist.training import History

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)
AXES = {"learning_rate": [0.3, 0.03], "optimizer": ["sgd", "momentum"], "seed": [5, 0, 2**32 - 1]}


def metrics(history) -> np.ndarray:
    return np.stack([np.asarray(values) for values in history])


def assert_same_run(found, index, history) -> None:
    """The compiler fuses a sweep's step otherwise than a single run's: 10 steps of float32."""
    row = metrics(found.history)[:, index]
    np.testing.assert_allclose(row, metrics(history), rtol=2e-6, atol=1e-7)


def test_cells_are_the_product_of_the_axes_in_order(swept):
    found, _ = swept
    expected = [
        dict(zip(AXES, values, strict=True)) for values in itertools.product(*AXES.values())
    ]
    assert [cell.values for cell in found.cells] == expected
    assert list(found.axes) == list(AXES)
    assert found.history.eval_loss.shape == (12, 2)


def test_every_row_is_the_single_run(dataset, swept):
    found, _ = swept
    for index, cell in enumerate(found.cells):
        values = cell.values
        config = dataclasses.replace(CONFIG, **values)
        _, history = jm.fit(config, dataset)
        assert_same_run(found, index, history)
    assert len(set(found.history.eval_loss[:, -1].tolist())) == 12


@pytest.mark.slow
def test_constants_and_initial_scale_reach_the_run(dataset):
    swept = {"momentum": [0.5, 0.8], "init_scale": [0.5, 2.0]}
    config = dataclasses.replace(
        CONFIG, hidden=(), optimizer="momentum", learning_rate=0.05, seed=7
    )
    found = sweep.run(config, swept, dataset, chunk=4)
    train = jax.jit(jm.make_train(config))
    for index, (momentum, scale) in enumerate(itertools.product(*swept.values())):
        hyper = {"learning_rate": 0.05, "momentum": momentum, "init_scale": scale}
        _, history = train(jax.random.key(7), hyper, dataset.arrays())
        assert_same_run(found, index, history)
    assert len(set(found.history.train_loss[:, 0].tolist())) == 4


@pytest.mark.slow
def test_tutorials_adadelta_takes_a_learning_rate_where_it_is_an_axis(dataset):
    config = dataclasses.replace(CONFIG, hidden=(), optimizer="adadelta", epochs=1)
    without = sweep.run(config, {"seed": [1]}, dataset)
    with_rates = sweep.run(config, {"learning_rate": [0.5, 1.0], "seed": [1]}, dataset)
    assert_same_run(with_rates, 1, jax.tree.map(lambda values: values[0], without.history))
    assert with_rates.history.train_loss[0, 0] != with_rates.history.train_loss[1, 0]


@pytest.mark.slow
def test_shapes_make_groups_of_their_own(dataset):
    swept = {"hidden": [(4,), ()], "seed": [0, 1], "batch_size": [64, 50]}
    cells = axes.cells(CONFIG, axes.check_axes(swept))
    programs_and_members = axes.groups(cells)
    assert [(p.hidden, p.batch_size) for p in programs_and_members] == [
        ((4,), 64),
        ((4,), 50),
        ((), 64),
        ((), 50),
    ]
    assert list(programs_and_members.values()) == [[0, 2], [1, 3], [4, 6], [5, 7]]
    found = sweep.run(CONFIG, {"hidden": [(), (8,)], "seed": [4]}, dataset)
    for index, hidden in enumerate([(), (8,)]):
        _, history = jm.fit(dataclasses.replace(CONFIG, hidden=hidden, seed=4), dataset)
        assert_same_run(found, index, history)


@pytest.mark.slow
def test_numbers_and_seeds_are_one_program_however_many_chunks(dataset, monkeypatch):
    traces = []
    make_train = programs.make_train

    def counting(task, **sizes):
        train = make_train(task, **sizes)

        def traced(key, hyper, data):
            traces.append(task)
            return train(key, hyper, data)

        return traced

    monkeypatch.setattr(programs, "make_train", counting)
    # A config that no other test has, so that none finds the counting program.
    config = dataclasses.replace(CONFIG, epochs=1, hidden=(), batch_size=60, optimizer="adam")
    first = {"learning_rate": [0.1, 0.01, 0.001], "b1": [0.5], "seed": [0]}
    sweep.run(config, first, dataset, chunk=1)
    assert len(traces) == 1
    second = {"seed": [3, 4], "b2": [0.9, 0.99], "learning_rate": [0.02]}
    sweep.run(config, second, dataset, chunk=1)
    assert len(traces) == 1
    sweep.run(config, {"hidden": [(), (1,)], "seed": [0]}, dataset, chunk=1)
    assert len(traces) == 2


@pytest.mark.slow
def test_chunks_change_nothing_but_the_reports(dataset, swept):
    found, _ = swept
    reports = []
    again = sweep.run(
        CONFIG, AXES, dataset, chunk=4, on_chunk=lambda *report: reports.append(report)
    )
    np.testing.assert_array_equal(metrics(again.history), metrics(found.history))
    assert reports == [(done, 12) for done in (0, 4, 6, 10, 12)]


@pytest.mark.slow
def test_models_in_step_are_the_models_one_by_one_to_rounding(dataset, swept):
    found, _ = swept
    mine = [index for index, cell in enumerate(found.cells) if cell.config.optimizer == "momentum"]
    config = dataclasses.replace(CONFIG, optimizer="momentum")
    group = programs.group_of(config, config.program())
    program = programs.program(group, tuple(jax.devices()), True)
    cells = [found.cells[index] for index in mine]
    history = program(
        programs.keys([cell.config.seed for cell in cells]),
        programs.stack([cell.hyper for cell in cells]),
        training.split_pair(dataset.arrays()),
    )
    # Batched products sum in another order; 10 steps of float32.
    np.testing.assert_allclose(
        metrics(history), metrics(found.history)[:, mine], rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
def test_diverged_run_is_recorded_and_spoils_no_other(dataset, swept):
    found, _ = swept
    wild = sweep.run(CONFIG, {"learning_rate": [0.3, 1e30], "seed": [5, 0]}, dataset, chunk=4)
    with pytest.raises(jm.DivergedError) as caught:
        jm.fit(dataclasses.replace(CONFIG, learning_rate=1e30, seed=5), dataset)
    assert wild.diverged.tolist() == [-1, -1, caught.value.epoch, caught.value.epoch]
    assert np.isnan(metrics(wild.history)[:, 2:]).all()
    np.testing.assert_array_equal(metrics(wild.history)[:, :2], metrics(found.history)[:, :2])


def test_nothing_counts_from_the_epoch_of_a_divergence_on():
    train = np.array([[1, np.inf, 0.5], [1, 2, 3], [1, 2, 3]], np.float32)
    evaluation = np.array([[1, 2, 3], [1, 2, np.nan], [1, 2, 3]], np.float32)
    history = History._make([train, train, evaluation, *[evaluation] * 5])
    assert results.diverged_at(history).tolist() == [1, 2, -1]
    kept = results.without_diverged(history)
    expected = [[False, True, True], [False, False, True], [False] * 3]
    for before, after in zip(history, kept, strict=True):
        np.testing.assert_array_equal(np.isnan(after), expected)
        np.testing.assert_array_equal(after[~np.array(expected)], before[~np.array(expected)])
        assert after.dtype == np.float32


def accelerators(count: int, memory: float) -> list[SimpleNamespace]:
    statistics = {"bytes_limit": memory}
    return [SimpleNamespace(platform="gpu", memory_stats=lambda: statistics) for _ in range(count)]


@pytest.mark.slow
def test_plan_gives_a_cpu_device_one_model_and_an_accelerator_what_it_holds():
    images = np.broadcast_to(np.uint8(0), (60_000, 28, 28))
    part = images, np.broadcast_to(np.int32(0), 60_000)
    config = jm.Config()
    model = programs.bytes_of_model(
        programs.group_of(config, config.program()), jm.default_hyper(config), (part, part)
    )

    def plan(count, devices, chunk=None):
        found = programs.plan(count, devices, lambda: model, chunk)
        assert found.chunk % len(found.devices) == 0
        return len(found.devices), found.vectorized, found.chunk

    cores = [SimpleNamespace(platform="cpu", memory_stats=lambda: None)] * 4
    assert plan(9, cores) == (4, False, 4)
    assert plan(3, cores) == (3, False, 3)
    assert plan(9, cores, chunk=8) == (4, False, 8)
    assert plan(9, cores, chunk=1) == (4, False, 4)
    assert plan(9, cores, chunk=100) == (4, False, 12)
    # The state alone is 1 MB; 4096 models must go into an 80 GB card.
    assert 4 * 243_622 * 4 < model < 40e9 / 4096
    assert plan(100, accelerators(1, 20 * model)) == (1, True, 10)
    assert plan(100, accelerators(2, 20 * model)) == (2, True, 20)
    assert plan(7, accelerators(2, 20 * model)) == (2, True, 8)
    assert plan(100, accelerators(1, 20 * model), chunk=4) == (1, True, 4)
    assert plan(100, accelerators(1, model)) == (1, True, 1)
