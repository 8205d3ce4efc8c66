"""Sweeps: which runs they are, that each is the single run, what is kept, and what is refused."""

import csv
import dataclasses
import itertools
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import stats

import jaxmnist as jm
from jaxmnist import sweep
from jaxmnist.sweep import axes, folder, programs, results
from jaxmnist.training import History

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)
AXES = {"learning_rate": [0.3, 0.03], "optimizer": ["sgd", "momentum"], "seed": [5, 0, 2**32 - 1]}


@pytest.fixture(scope="module")
def dataset(first_digits) -> jm.Dataset:
    """Real digits, in numbers that leave short last batches."""
    return first_digits(300, 100)


@pytest.fixture(scope="module")
def swept(dataset, tmp_path_factory):
    """A sweep with two programs of six cells each, and its folder."""
    out = tmp_path_factory.mktemp("sweep") / "new"
    return sweep.run(CONFIG, AXES, dataset, out=out, command="the command"), out


def figures(history) -> np.ndarray:
    return np.stack([np.asarray(values) for values in history])


def assert_same_run(found, index, history) -> None:
    """The compiler fuses a sweep's step otherwise than a single run's: 10 steps of float32."""
    row = figures(found.history)[:, index]
    np.testing.assert_allclose(row, figures(history), rtol=2e-6, atol=1e-7)


# ------------------------------------------------------------------------------- the runs


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


def test_documents_adadelta_takes_a_learning_rate_where_it_is_an_axis(dataset):
    config = dataclasses.replace(CONFIG, hidden=(), optimizer="adadelta", epochs=1)
    without = sweep.run(config, {"seed": [1]}, dataset)
    with_rates = sweep.run(config, {"learning_rate": [0.5, 1.0], "seed": [1]}, dataset)
    assert_same_run(with_rates, 1, jax.tree.map(lambda values: values[0], without.history))
    assert with_rates.history.train_loss[0, 0] != with_rates.history.train_loss[1, 0]


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


def test_numbers_and_seeds_are_one_program_however_many_chunks(dataset, monkeypatch):
    traces = []
    make_train = programs.make_train

    def counting(config, num_classes):
        train = make_train(config, num_classes)

        def traced(key, hyper, data):
            traces.append(config)
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


def test_chunks_change_nothing_but_the_reports(dataset, swept):
    found, _ = swept
    reports = []
    again = sweep.run(
        CONFIG, AXES, dataset, chunk=4, on_chunk=lambda *report: reports.append(report)
    )
    np.testing.assert_array_equal(figures(again.history), figures(found.history))
    assert reports == [(done, 12) for done in (0, 4, 6, 10, 12)]


def test_models_in_step_are_the_models_one_by_one_to_rounding(dataset, swept):
    found, _ = swept
    mine = [index for index, cell in enumerate(found.cells) if cell.config.optimizer == "momentum"]
    program = programs.program(
        dataclasses.replace(CONFIG, optimizer="momentum"), 10, tuple(jax.devices()), True
    )
    cells = [found.cells[index] for index in mine]
    history = program(
        programs.keys([cell.config.seed for cell in cells]),
        programs.stack([cell.hyper for cell in cells]),
        dataset.arrays(),
    )
    # Batched products sum in another order; 10 steps of float32.
    np.testing.assert_allclose(
        figures(history), figures(found.history)[:, mine], rtol=1e-4, atol=1e-5
    )


def test_diverged_run_is_recorded_and_spoils_no_other(dataset, swept):
    found, _ = swept
    wild = sweep.run(CONFIG, {"learning_rate": [0.3, 1e30], "seed": [5, 0]}, dataset, chunk=4)
    with pytest.raises(jm.DivergedError) as caught:
        jm.fit(dataclasses.replace(CONFIG, learning_rate=1e30, seed=5), dataset)
    assert wild.diverged.tolist() == [-1, -1, caught.value.epoch, caught.value.epoch]
    assert np.isnan(figures(wild.history)[:, 2:]).all()
    np.testing.assert_array_equal(figures(wild.history)[:, :2], figures(found.history)[:, :2])


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


# ------------------------------------------------------------------------------- the plan


def accelerators(count: int, memory: float) -> list[SimpleNamespace]:
    statistics = {"bytes_limit": memory}
    return [SimpleNamespace(platform="gpu", memory_stats=lambda: statistics) for _ in range(count)]


def test_plan_gives_a_cpu_device_one_model_and_an_accelerator_what_it_holds():
    def plan(count, devices, chunk=None):
        found = programs.plan(jm.Config(), 10, 60_000, count, devices, chunk)
        assert found.chunk % len(found.devices) == 0
        return len(found.devices), found.vectorized, found.chunk

    cores = [SimpleNamespace(platform="cpu", memory_stats=lambda: None)] * 4
    assert plan(9, cores) == (4, False, 4)
    assert plan(3, cores) == (3, False, 3)
    assert plan(9, cores, chunk=8) == (4, False, 8)
    assert plan(9, cores, chunk=1) == (4, False, 4)
    assert plan(9, cores, chunk=100) == (4, False, 12)
    model = programs.bytes_of_model(jm.Config(), 10, 60_000)
    # The state alone is 1 MB; 4096 models must go into an 80 GB card.
    assert 4 * 243_622 * 4 < model < 40e9 / 4096
    assert plan(100, accelerators(1, 20 * model)) == (1, True, 10)
    assert plan(100, accelerators(2, 20 * model)) == (2, True, 20)
    assert plan(7, accelerators(2, 20 * model)) == (2, True, 8)
    assert plan(100, accelerators(1, 20 * model), chunk=4) == (1, True, 4)
    assert plan(100, accelerators(1, model)) == (1, True, 1)


# ------------------------------------------------------------------------------- the folder


def test_folder_tells_what_the_sweep_was_and_found(swept):
    found, out = swept
    assert sorted(path.name for path in out.iterdir()) == [
        "cells.jsonl",
        "results.csv",
        "results.json",
        "summary.md",
        "sweep.json",
    ]
    about = json.loads((out / "sweep.json").read_text())
    assert about["axes"] == AXES
    assert about["command"] == "the command"
    assert about["config"] == {
        "hidden": [8],
        **{
            name: value
            for name, value in dataclasses.asdict(CONFIG).items()
            if name not in ("hidden", *AXES)
        },
    }
    assert set(about["versions"]) == {"jaxmnist", "jax", "numpy", "scipy"}
    whole = json.loads((out / "results.json").read_text())
    assert whole["summary"] == sweep.summary(found)
    assert whole["rows"] == sweep.rows(found)


def test_tables_have_a_row_per_cell_and_epoch_with_every_bit(swept):
    found, out = swept
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    for number, row in enumerate(rows):
        cell, epoch = divmod(number, 2)
        assert (int(row["cell"]), int(row["epoch"]), row["diverged"]) == (cell, epoch, "")
        for name, value in found.cells[cell].values.items():
            assert row[name] == str(value)
        for name in History._fields:
            assert np.float32(row[name]) == getattr(found.history, name)[cell, epoch]


@pytest.mark.parametrize("kept", [0, 1, 5, 8, 12])
def test_stopped_sweep_goes_on_where_it_was(kept, dataset, swept, tmp_path):
    _, whole = swept
    lines = (whole / "cells.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 12
    torn = lines[kept][:40] if kept < 12 else b""
    (tmp_path / "sweep.json").write_bytes((whole / "sweep.json").read_bytes())
    (tmp_path / "cells.jsonl").write_bytes(b"".join([*lines[:kept], torn]))
    reports = []
    sweep.run(
        CONFIG, AXES, dataset, out=tmp_path, chunk=4, on_chunk=lambda *now: reports.append(now[0])
    )
    assert reports[0] == kept
    assert reports[-1] == 12
    assert len(reports) == 1 + sum(
        -(-len([i for i in range(kept, 12) if cell_group(i, lines) == group]) // 4)
        for group in (0, 1)
    )
    for name in ("results.csv", "results.json", "summary.md"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    again = (tmp_path / "cells.jsonl").read_bytes().splitlines(keepends=True)
    assert sorted(again) == sorted(lines)


def cell_group(line: int, lines: list[bytes]) -> int:
    """Which optimizer's program the cell of a line belongs to: the second axis, over 3 seeds."""
    return json.loads(lines[line])["cell"] // 3 % 2


def test_finished_sweep_trains_nothing_again(dataset, swept, monkeypatch):
    found, out = swept
    monkeypatch.delattr(programs, "make_train")
    again = sweep.run(CONFIG, AXES, dataset, out=out)
    np.testing.assert_array_equal(figures(again.history), figures(found.history))
    assert again.history.eval_loss.dtype == np.float32


def test_diverged_runs_survive_the_disk(dataset, tmp_path):
    wild = {"learning_rate": [1e30, 0.1]}
    first = sweep.run(CONFIG, wild, dataset, out=tmp_path)
    again = sweep.run(CONFIG, wild, dataset, out=tmp_path)
    np.testing.assert_array_equal(figures(again.history), figures(first.history))
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["diverged"] for row in rows] == [0, 0, None, None]
    assert [row["eval_loss"] is None for row in rows] == [True, True, False, False]
    diverged, sound = sweep.summary(again)
    assert (diverged["runs"], diverged["diverged"], diverged["eval_loss"]) == (0, 1, None)
    assert (sound["runs"], sound["diverged"]) == (1, 0)


@pytest.mark.parametrize(
    ("config", "swept_axes", "complaint"),
    [
        ({}, {**AXES, "seed": [5, 0]}, r"the axis seed is \[5, 0, 4294967295\] there"),
        ({"epochs": 3}, AXES, "config: epochs is 2 there, and 3 here; choose another --out"),
        ({}, {**AXES, "init_scale": [1.0]}, "the axis init_scale is missing there"),
        ({}, dict(reversed(AXES.items())), "its axes are in the order learning_rate, optimizer"),
        ({}, {"seed": [0]}, "config: optimizer is missing there|the axis learning_rate"),
    ],
)
def test_folder_of_another_sweep_is_refused(config, swept_axes, complaint, dataset, swept):
    _, out = swept
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(jm.InputError, match=complaint):
        sweep.run(dataclasses.replace(CONFIG, **config), swept_axes, dataset, out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_folder_of_other_data_is_refused(dataset, swept):
    _, out = swept
    labels = np.roll(dataset.train_labels, 1)
    other = dataclasses.replace(dataset, train_labels=labels)
    with pytest.raises(jm.InputError, match="data: train_labels_crc32 is"):
        sweep.run(CONFIG, AXES, other, out=out)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("sweep.json", "{", "sweep.json is no sweep's description"),
        ("sweep.json", "[]", "sweep.json is no sweep's description"),
        ("cells.jsonl", '{"cell": 0}\n', "cells.jsonl is damaged in line 1"),
        ("cells.jsonl", "x\n", "cells.jsonl is damaged in line 1"),
    ],
)
def test_damaged_folder_is_refused(name, content, complaint, dataset, swept, tmp_path):
    _, out = swept
    (tmp_path / "sweep.json").write_bytes((out / "sweep.json").read_bytes())
    (tmp_path / name).write_text(content)
    with pytest.raises(jm.InputError, match=complaint):
        sweep.run(CONFIG, AXES, dataset, out=tmp_path)


def test_folder_that_cannot_be_is_refused(dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(jm.InputError, match="cannot keep a sweep in"):
        sweep.run(CONFIG, AXES, dataset, out=tmp_path / "file")
    (tmp_path / "cells.jsonl").write_text("")
    with pytest.raises(jm.InputError, match=r"has a cells.jsonl but no sweep.json"):
        folder.enter(tmp_path, CONFIG, axes.check_axes(AXES), dataset, "")


# ------------------------------------------------------------------------------- the summary


def made_up(accuracies: list[float], diverged: tuple[int, ...] = ()) -> sweep.Sweep:
    values = np.array(accuracies)[:, None]
    losses = np.where(np.isin(np.arange(len(accuracies)), diverged)[:, None], np.nan, values)
    cells = tuple(
        sweep.Cell({"seed": seed, "b1": b1}, CONFIG, {})
        for seed in range(len(accuracies) // 2)
        for b1 in (0.5, 0.9)
    )
    history = History._make([losses, values, losses, values, losses, values, losses, values])
    return sweep.Sweep({"seed": (0, 1, 2), "b1": (0.5, 0.9)}, cells, history)


def test_summary_is_the_mean_and_students_interval_over_seeds():
    # b1 = 0.5 has 0.1, 0.2, 0.6; b1 = 0.9 has 0.3, 0.3, 0.9.
    first, second = sweep.summary(made_up([0.1, 0.3, 0.2, 0.3, 0.6, 0.9]))
    assert (first["b1"], first["runs"], first["diverged"]) == (0.5, 3, 0)
    # t(0.975, 2) = 4.302653 in any table; the deviations of 0.3 are 0.2, 0.1 and 0.3.
    assert first["eval_accuracy"] == pytest.approx(0.3)
    assert first["eval_accuracy_ci"] == pytest.approx(4.302653 * np.sqrt(0.14 / 2 / 3), rel=1e-6)
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem([0.3, 0.3, 0.9]))
    assert second["eval_loss"] == pytest.approx((low + high) / 2)
    assert second["eval_loss_ci"] == pytest.approx((high - low) / 2)


def test_summary_leaves_diverged_runs_out_and_says_so():
    first, second = sweep.summary(made_up([0.1, 0.3, 0.2, 0.3, 0.6, 0.9], diverged=(0, 1, 3)))
    assert (first["runs"], first["diverged"]) == (2, 1)
    assert first["eval_accuracy"] == pytest.approx(0.4)
    # t(0.975, 1) = 12.7062, and half the difference of two is their standard error.
    assert first["eval_accuracy_ci"] == pytest.approx(12.7062 * 0.2, rel=1e-5)
    assert (second["runs"], second["diverged"]) == (1, 2)
    assert second["eval_accuracy"] == pytest.approx(0.9)
    assert second["eval_accuracy_ci"] is None
    head, *lines = sweep.table([first, second])
    assert head[:4] == ["b1", "runs", "diverged", "eval_accuracy"]
    assert lines[0][:4] == ["0.5", "2", "1", "0.4000 ± 2.5412"]
    assert lines[1][3] == "0.9000"


# ------------------------------------------------------------------------------- the axes


@pytest.mark.parametrize(
    ("name", "words", "values"),
    [
        ("learning_rate", ["0.1"], (0.1,)),
        ("learning_rate", ["1e-4..31.6228:log12", "2"], None),
        ("learning_rate", ["0..1:5"], (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("learning_rate", ["1..3"], (1.0, 2.0, 3.0)),
        ("init_scale", ["-1..1:3"], (-1.0, 0.0, 1.0)),
        ("seed", ["7", "0..2"], (7, 0, 1, 2)),
        ("batch_size", ["16..256:log5"], (16, 32, 64, 128, 256)),
        ("hidden", ["256-128", "none", "8"], ((256, 128), (), (8,))),
        ("optimizer", ["sgd", "adam"], ("sgd", "adam")),
    ],
)
def test_axis_is_read_as_it_is_written(name, words, values):
    found = sweep.parse(name, words)
    if values is None:
        steps = [f"{10 ** (k / 2 - 4):.6g}" for k in range(12)]
        values = (*map(float, steps), 2.0)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]
    assert sweep.parse(name, [axes.text(value) for value in found]) == found


@pytest.mark.parametrize(
    ("name", "word", "complaint"),
    [
        ("learning_rate", "x", "'x' is none: --learning-rate takes a number, or a range"),
        ("learning_rate", "0.1..1", "is none: --learning-rate takes a number"),
        ("learning_rate", "0.1..1:lin5", "is none"),
        ("learning_rate", "0.1..", "is none"),
        ("learning_rate", "..", "is none"),
        ("learning_rate", "0..1:log5", "from A to B with 0 < A < B"),
        ("learning_rate", "1..0.1:5", "from A to B with A < B"),
        ("learning_rate", "0..inf:5", "from A to B with A < B"),
        ("learning_rate", "0..1:1", "has 1 values; 2 to 10000"),
        ("seed", "0..1000000000", "has 1000000001 values"),
        ("seed", "0.5", "'0.5' is none: --seed takes a whole number"),
        ("batch_size", "16..64:4x", "is none: --batch-size takes a whole number"),
        ("batch_size", "16..65:log3", "is not of whole numbers"),
        ("hidden", "256,128", "hidden cannot be '256,128'"),
        ("hidden", "", "hidden cannot be ''"),
    ],
)
def test_malformed_axis_is_refused_with_what_is_allowed(name, word, complaint):
    with pytest.raises(jm.InputError, match=complaint.replace("(", r"\(")):
        sweep.parse(name, ["1", word])


@pytest.mark.parametrize(
    ("swept_axes", "complaint"),
    [
        ({}, "nothing to sweep: give at least one axis of optimizer, hidden"),
        ({"epochs": [1]}, "no axis 'epochs'; choose from optimizer, hidden"),
        ({"seed": []}, "the axis seed has no values"),
        ({"seed": 3}, "the axis seed is 3; it must be a list"),
        ({"optimizer": "sgd"}, "the axis optimizer is 'sgd'; it must be a list"),
        ({"optimizer": [1]}, "the axis optimizer has 1; it must be the name"),
        ({"optimizer": ["sgdd"]}, "no optimizer 'sgdd'"),
        ({"seed": [1, 0, 1]}, "the axis seed has 1 twice"),
        ({"seed": [0.5]}, "the axis seed has 0.5; it must be a whole number"),
        ({"seed": [float("inf")]}, "the axis seed has inf; it must be a whole number"),
        ({"seed": [-1]}, "seed is -1; it must be a whole number from 0"),
        ({"seed": [True]}, "the axis seed has True; it must be a number"),
        ({"hidden": [3]}, "the axis hidden has 3; it must be a tuple"),
        ({"hidden": [(0,)]}, "hidden has a layer of size 0"),
        ({"batch_size": [301]}, "batch_size is 301; the data has only 300"),
        ({"learning_rate": ["0.1"]}, "the axis learning_rate has '0.1'; it must be a number"),
        ({"learning_rate": [-1.0]}, "learning_rate is -1.0; it must be a finite number"),
        ({"init_scale": [float("nan")]}, "the axis init_scale has nan; it must be a finite"),
        ({"b1": [0.9]}, "sgd has no argument 'b1'; it has learning_rate"),
        ({"optimizer": ["adam", "sgd"], "b1": [0.9]}, "sgd has no argument 'b1'"),
        ({"optimizer": ["adam"], "b1": [1.0]}, "adam: b1 is 1.0, but it must be at least 0"),
    ],
)
def test_impossible_sweep_is_refused_before_anything_is_written(
    swept_axes, complaint, dataset, tmp_path
):
    with pytest.raises(jm.InputError) as caught:
        sweep.run(CONFIG, swept_axes, dataset, out=tmp_path / "out")
    assert complaint in str(caught.value)
    assert not (tmp_path / "out").exists()
