"""A sweep's folder: what it stores, resuming, and what is refused."""

import csv
import dataclasses
import json
import os

import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import locks, sweep
from jaxmnist.sweep import axes, folder, programs
from jaxmnist.training import History

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)
AXES = {"learning_rate": [0.3, 0.03], "optimizer": ["sgd", "momentum"], "seed": [5, 0, 2**32 - 1]}


def metrics(history) -> np.ndarray:
    return np.stack([np.asarray(values) for values in history])


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_finished_sweep_trains_nothing_again(dataset, swept, monkeypatch):
    found, out = swept
    monkeypatch.delattr(programs, "make_train")
    again = sweep.run(CONFIG, AXES, dataset, out=out)
    np.testing.assert_array_equal(metrics(again.history), metrics(found.history))
    assert again.history.eval_loss.dtype == np.float32


@pytest.mark.slow
def test_diverged_runs_survive_the_disk(dataset, tmp_path):
    wild = {"learning_rate": [1e30, 0.1]}
    first = sweep.run(CONFIG, wild, dataset, out=tmp_path)
    again = sweep.run(CONFIG, wild, dataset, out=tmp_path)
    np.testing.assert_array_equal(metrics(again.history), metrics(first.history))
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["diverged"] for row in rows] == [0, 0, None, None]
    assert [row["eval_loss"] is None for row in rows] == [True, True, False, False]
    diverged, sound = sweep.summary(again)
    assert (diverged["runs"], diverged["diverged"], diverged["eval_loss"]) == (1, 1, None)
    assert diverged["eval_accuracy"] == diverged["eval_accuracy_iqm"] == 0
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
    with pytest.raises(jm.InputError, match="cannot write a sweep to"):
        sweep.run(CONFIG, AXES, dataset, out=tmp_path / "file")
    (tmp_path / "cells.jsonl").write_text("")
    with pytest.raises(jm.InputError, match=r"has a cells.jsonl but no sweep.json"):
        folder.enter(tmp_path, CONFIG, axes.check_axes(AXES), dataset, "")


def test_changed_line_is_noticed_and_done_again_without_it(dataset, swept, tmp_path):
    _, out = swept
    for name in ("sweep.json", "cells.jsonl"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    cells = tmp_path / "cells.jsonl"
    lines = cells.read_text().splitlines(keepends=True)
    value = str(json.loads(lines[2])["history"]["eval_loss"][0])
    changed = lines[2].replace(value, value[:-1] + str((int(value[-1]) + 1) % 10))
    for damaged, said in (
        ([*lines[:2], changed, *lines[3:]], "line 3: .*SHA-256"),
        ([*lines[:2], lines[2].replace('"cell": ', '"cell": 9'), *lines[3:]], "line 3: "),
        ([*lines, lines[4]], "line 13: .*twice"),
        (["[" * 100_000 + "\n", *lines], "line 1: "),
        (["5\n", *lines], "line 1: "),
    ):
        cells.write_text("".join(damaged))
        with pytest.raises(jm.InputError, match=rf"cells\.jsonl is damaged in {said}"):
            sweep.run(CONFIG, AXES, dataset, out=tmp_path)
        assert cells.read_text() == "".join(damaged)
    # Lines of earlier versions have no SHA-256.
    old = [json.dumps({k: v for k, v in json.loads(x).items() if k != "sha256"}) for x in lines]
    cells.write_text("".join(f"{line}\n" for line in old))
    sweep.run(CONFIG, AXES, dataset, out=tmp_path)
    assert (tmp_path / "results.json").read_bytes() == (out / "results.json").read_bytes()


def test_second_writer_is_refused(dataset, swept, tmp_path, monkeypatch):
    _, out = swept
    seen = []

    def look(*_: int) -> None:
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        monkeypatch.setattr(locks, "_held", {})  # As another process knows nothing of it.
        with pytest.raises(jm.InputError, match=f"{tmp_path} is in use by process {os.getpid()} "):
            sweep.run(CONFIG, AXES, dataset, out=tmp_path)
        monkeypatch.undo()

    for name in ("sweep.json", "cells.jsonl"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    sweep.run(CONFIG, AXES, dataset, out=tmp_path, on_chunk=look)
    assert seen == [[".lock", "cells.jsonl", "sweep.json"]]
    assert ".lock" not in {path.name for path in tmp_path.iterdir()}
