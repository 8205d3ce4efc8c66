"""Starting and resuming a run through the library: one function, and what it returns."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import provenance, runs
from jaxmnist.distributed import processes
from jaxmnist.plots import save
from jaxmnist.runs import pictures


def test_open_run_starts_a_new_run(npz, config, tmp_path):
    session = runs.open_run(config, str(npz), checkpoint_every=2, path=tmp_path / "run")
    assert session.run == runs.Run(tmp_path / "run", config, 10, str(npz), None, 2)
    assert (session.epoch, session.state, session.history) == (0, None, None)
    assert isinstance(session.data, jm.Dataset)
    assert {path.name for path in session.run.path.iterdir()} == {".lock", "config.json"}
    assert runs.read(session.run.path) == session.run
    session.close()
    assert [path.name for path in session.run.path.iterdir()] == ["config.json"]


@pytest.mark.slow
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
    told = []
    monkeypatch.setattr(processes, "from_first", lambda decide: told.append(decide()) or told[-1])
    first = runs.open_run(config, str(npz), checkpoint_every=2, keep=3, path=tmp_path / "run")
    first.close()
    shutil.rmtree(first.run.path)
    begun = {**told[0], "epoch": 4}
    monkeypatch.setattr(processes, "from_first", lambda _: json.loads(json.dumps(begun)))
    words = {"checkpoint_every": 2, "keep": 3, "path": tmp_path / "run"}
    session = runs.open_run(config, str(npz), **words)
    assert session.run == runs.Run(tmp_path / "run", config, 10, str(npz), None, 2, 3)
    assert (session.epoch, session.state, session.history) == (4, None, None)
    assert isinstance(session.data, jm.Dataset)
    for change, said in (
        ({"config": dataclasses.replace(config, seed=1)}, "seed is 1, and 3 in process 0"),
        ({"keep": 1}, "keep is 1, and 3 in process 0"),
        ({"data_dir": "there"}, "data_dir is there, and None in process 0"),
        ({"resume": tmp_path / "run"}, "--resume is .*run, and None in process 0"),
    ):
        given = {"config": config, "dataset": str(npz), **words, **change}
        expected = f"this process was started with different options than process 0: {said}"
        with pytest.raises(jm.InputError, match=expected):
            runs.open_run(**given)
    assert list(tmp_path.iterdir()) == []

    other = replace_some_pixels(npz, tmp_path / "few.npz")
    begun["dataset"] = str(other)  # The same name on another host, with other content.
    sums = (
        rf"has other data than process 0: {other} has the SHA-256 \w+, and {begun['data_sha256']}"
    )
    with pytest.raises(jm.InputError, match=sums):
        runs.open_run(config, str(npz), **words)
    begun["dataset"] = str(tmp_path / "gone.npz")
    with pytest.raises(jm.InputError, match=r"has no such data as process 0: .*gone\.npz"):
        runs.open_run(config, str(npz), **words)
    begun["finished"] = True
    assert runs.open_run(config, str(npz), **words).data is None


def replace_some_pixels(npz: Path, path: Path) -> Path:
    with np.load(npz) as arrays:
        changed = dict(arrays)
    changed["x_train"] = changed["x_train"].copy()
    changed["x_train"][0, 14, 14] ^= 1
    np.savez(path, **changed)
    return path


def test_changed_data_are_refused_on_resuming(stopped, npz, tmp_path, contents):
    about = json.loads((stopped / "config.json").read_text())
    recorded = about["data_sha256"]
    about["dataset"] = str(replace_some_pixels(npz, tmp_path / "few.npz"))
    (stopped / "config.json").write_text(json.dumps(about))
    before = contents(stopped)
    with pytest.raises(jm.InputError, match=rf"data have changed .*few\.npz .*{recorded}"):
        runs.open_run(jm.Config(), resume=stopped)
    assert contents(stopped) == before
    # An earlier version recorded none: then it is recorded from here on.
    about["dataset"] = str(npz)
    del about["data_sha256"]
    (stopped / "config.json").write_text(json.dumps(about))
    runs.open_run(jm.Config(), resume=stopped).close()
    assert json.loads((stopped / "config.json").read_text())["data_sha256"] == recorded


def test_other_machine_is_said_and_recorded(stopped, monkeypatch):
    about = json.loads((stopped / "config.json").read_text())
    here = {"epoch": 0, **provenance.machine()}
    flags = here["xla_flags"] or "none"
    assert about["machines"] == [here]
    there = {**provenance.machine(), "cores": 1000, "xla_flags": "--some"}
    monkeypatch.setattr(provenance, "machine", lambda: there)
    for _ in range(2):  # It says so as long as it has not gone on there.
        session = runs.open_run(jm.Config(), resume=stopped)
        (note,) = session.notes
        assert f"cores {here['cores']} before, 1000 now; xla flags {flags} before" in note
        assert ", --some now" in note
        assert "to rounding, and not to the last bit" in note
        session.close()
        about = json.loads((stopped / "config.json").read_text())
        assert about["machines"] == [here, {"epoch": 4, **there}]


def test_pictures_are_resolved_when_first_used():
    assert runs.save_pictures is pictures.save_pictures
    assert runs.write_picture is save.write_picture
    with pytest.raises(AttributeError, match=r"'jaxmnist\.runs' has no attribute 'nonsense'"):
        _ = runs.nonsense  # pyright: ignore[reportAttributeAccessIssue]
