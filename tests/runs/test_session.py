"""Starting and resuming a run through the library: one function, and what it returns."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import runs
from jaxmnist.distributed import processes
from jaxmnist.plots import save
from jaxmnist.runs import pictures


def test_open_run_starts_a_new_run(npz, config, tmp_path):
    session = runs.open_run(config, str(npz), checkpoint_every=2, path=tmp_path / "run")
    assert session.run == runs.Run(tmp_path / "run", config, 10, str(npz), None, 2)
    assert (session.epoch, session.state, session.history) == (0, None, None)
    assert isinstance(session.data, jm.Dataset)
    assert [path.name for path in session.run.path.iterdir()] == ["config.json"]
    assert runs.read(session.run.path) == session.run


def test_session_trained_in_two_stretches_is_the_whole_run(npz, config, tmp_path):
    """The library's own loop, as `train` has it."""

    def stretch(session: runs.Session) -> tuple[jm.TrainState, jm.History]:
        assert isinstance(session.data, jm.Dataset)

        def record(*epoch) -> None:
            runs.record_epoch(session.run, *epoch)

        start = {"state": session.state, "epoch": session.epoch}
        return jm.fit(session.run.config, session.data, **start, on_epoch=record)

    path = tmp_path / "run"
    short = dataclasses.replace(config, epochs=2)
    stretch(runs.open_run(short, str(npz), checkpoint_every=1, path=path))
    resumed = runs.open_run(config, resume=path, options={"epochs": config.epochs})
    assert (resumed.run.config, resumed.epoch) == (config, 2)
    state, rest = stretch(resumed)
    expected, history = jm.fit(config, jm.load_dataset(npz))
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history is not None
    for past, new, all_epochs in zip(resumed.history, rest, history, strict=True):
        np.testing.assert_array_equal([*past, *new], all_epochs)


def test_finished_run_has_no_data_to_train_on(whole, config):
    session = runs.open_run(config, resume=whole)
    assert (session.epoch, session.data) == (config.epochs, None)


def test_run_whose_images_are_gone_is_left_as_it_is(stopped, contents):
    about = json.loads((stopped / "config.json").read_text())
    about["dataset"] = str(stopped / "gone.npz")
    (stopped / "config.json").write_text(json.dumps(about))
    before = contents(stopped)
    with pytest.raises(jm.InputError, match=r"gone\.npz"):
        runs.open_run(jm.Config(), resume=stopped)
    assert contents(stopped) == before


def test_other_process_returns_the_first_ones_run(npz, config, tmp_path, monkeypatch):
    """`from_first` as another process than the first sees it."""
    run = runs.Run(tmp_path / "run", config, 10, str(npz), None, 2, 3)
    begun = {"path": str(run.path), "epoch": 4, "finished": False, **runs.about(run)}
    monkeypatch.setattr(processes, "from_first", lambda _: json.loads(json.dumps(begun)))
    session = runs.open_run(config, str(npz), path=tmp_path / "elsewhere")
    assert (session.run, session.epoch, session.state, session.history) == (run, 4, None, None)
    assert isinstance(session.data, jm.Dataset)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(jm.InputError, match="started with different options than process 0"):
        runs.open_run(dataclasses.replace(config, seed=1), str(npz))
    begun["finished"] = True
    assert runs.open_run(jm.Config(), resume=run.path).data is None


def test_pictures_are_resolved_when_first_used():
    assert runs.save_pictures is pictures.save_pictures
    assert runs.write_picture is save.write_picture
    with pytest.raises(AttributeError, match=r"'jaxmnist\.runs' has no attribute 'nonsense'"):
        _ = runs.nonsense  # pyright: ignore[reportAttributeAccessIssue]
