"""Processes that share a sweep: who trains what, who is gone, and what a next start takes over."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxmnist as jm
from jaxmnist import locks, sweep
from jaxmnist.sweep import folder, programs, sharing

CONFIG = jm.Config(hidden=(8,), epochs=2, eval_batch_size=48)
AXES = {"learning_rate": [0.3, 0.03], "optimizer": ["sgd", "momentum"], "seed": [5, 0, 2**32 - 1]}


@given(st.lists(st.integers(0, 99), unique=True), st.integers(1, 9))
def test_cells_are_dealt_once_each_in_order_and_evenly(cells, count):
    dealt = sharing.deal(cells, count)
    assert len(dealt) == count
    assert sorted(itertools.chain(*dealt)) == sorted(cells)
    assert all(list(own) == sorted(own, key=cells.index) for own in dealt)
    sizes = [len(own) for own in dealt]
    assert max(sizes) - min(sizes) <= 1


def left_behind(whole, out, kept: int) -> list[bytes]:
    """Make the folder that three processes left; each has some lines, and one half a line more."""
    lines = (whole / "cells.jsonl").read_bytes().splitlines(keepends=True)
    (out / "sweep.json").write_bytes((whole / "sweep.json").read_bytes())
    (out / "cells.jsonl").write_bytes(lines[0])
    for index in range(3):
        place = out / "processes" / f"0123abcd-{index}"
        place.mkdir(parents=True)
        # The first line again: a start that took them over was killed on the way.
        own = [lines[0], *lines[1 + index : kept : 3]]
        (place / "cells.jsonl").write_bytes(b"".join([*own, b'{"cell": 1'] if index else own))
    return lines


@pytest.mark.slow
def test_next_start_takes_over_what_processes_left(dataset, swept, tmp_path, monkeypatch):
    _, whole = swept
    left_behind(whole, tmp_path, 12)
    (tmp_path / ".processes.0123abcd-0" / "x").mkdir(parents=True)
    monkeypatch.delattr(programs, "make_train")
    sweep.run(CONFIG, AXES, dataset, out=tmp_path)
    names = ["cells.jsonl", "results.csv", "results.json", "summary.md", "sweep.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_folder_with_a_process_that_lives_is_refused(dataset, swept, tmp_path, monkeypatch):
    _, whole = swept
    left_behind(whole, tmp_path, 5)
    alive = tmp_path / "processes" / "0123abcd-1"
    assert locks.take(alive)
    with monkeypatch.context() as another:
        another.setattr(locks, "_held", {})  # As another process knows nothing of it.
        assert not locks.is_free(alive)
        with pytest.raises(jm.InputError, match=f"{alive} is in use by process "):
            sweep.run(CONFIG, AXES, dataset, out=tmp_path)
    locks.release(alive)
    assert locks.is_free(alive)
    assert len([*tmp_path.glob("processes/*/cells.jsonl")]) == 3


@pytest.mark.slow
def test_damaged_line_of_a_process_is_named(dataset, swept, tmp_path):
    _, whole = swept
    left_behind(whole, tmp_path, 12)
    damaged = tmp_path / "processes" / "0123abcd-2" / "cells.jsonl"
    damaged.write_bytes(b"x\n")
    with pytest.raises(jm.InputError, match=f"{damaged} is damaged in line 1"):
        sweep.run(CONFIG, AXES, dataset, out=tmp_path)


# ------------------------------------------------------------------------------- waiting


@pytest.fixture
def shares(tmp_path):
    """What each of three processes with two cells each knows; all are alive and have done one."""
    folders = tuple(tmp_path / "processes" / f"x-{index}" for index in range(3))
    for each in folders:
        each.mkdir(parents=True)
        (each / "cells.jsonl").write_text("{}\n")
        assert locks.take(each)
    yield [sharing.Share(index, folders, ((0, 1), (2, 3), (4, 5))) for index in range(3)]
    for each in folders:
        locks.release(each)


def finish(share: sharing.Share, *which: int) -> None:
    for index in which:
        (share.folders[index] / "cells.jsonl").write_text("{}\n{}\n")


def test_process_waits_for_all_cells_and_reports_them(shares, monkeypatch):
    finish(shares[0], 0)
    seen, steps = [], iter((1, 2))
    monkeypatch.setattr(sharing.time, "sleep", lambda _: finish(shares[0], next(steps)))
    sharing.wait(shares[0], seen.append)
    assert seen == [4, 5, 6]


@pytest.mark.parametrize("own", [0, 1])
def test_lost_process_is_named_when_the_others_are_done(own, shares, monkeypatch):
    finish(shares[0], own)
    locks.release(shares[0].folders[2])
    monkeypatch.setattr(sharing.time, "sleep", lambda _: finish(shares[0], 0, 1))
    said = "not whole: process 2 stopped with 1 of its 2 runs unfinished; the same command"
    with pytest.raises(sweep.UnfinishedSweepError, match=said):
        sharing.wait(shares[own], lambda _: None)


def test_other_processes_wait_for_the_tables(shares, monkeypatch, tmp_path):
    finish(shares[0], 0, 1, 2)
    asleep = []

    def write_tables(_: float) -> None:
        asleep.append(1)
        if len(asleep) == 2:
            sharing.remove(tmp_path, shares[0])

    monkeypatch.setattr(sharing.time, "sleep", write_tables)
    sharing.wait(shares[1], lambda _: None)
    assert len(asleep) == 2
    assert list(tmp_path.iterdir()) == []


def test_first_process_lost_before_the_tables_is_noticed(shares):
    finish(shares[0], 0, 1, 2)
    locks.release(shares[0].folders[0])
    with pytest.raises(sweep.UnfinishedSweepError, match="process 0 stopped before it wrote the"):
        sharing.wait(shares[2], lambda _: None)


def test_waiting_reads_lines_and_not_what_is_in_them(shares):
    assert [folder.count_finished(each) for each in shares[0].folders] == [1, 1, 1]
    (shares[0].folders[1] / "cells.jsonl").write_text(json.dumps({"cell": 2}))
    assert [folder.count_finished(each) for each in shares[0].folders] == [1, 0, 1]
    assert folder.count_finished(shares[0].folders[0] / "none") == 0
