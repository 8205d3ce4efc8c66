"""`train --log`, `--profile`, `-v` and `-q`: what else of a run is kept, and what is said of it."""

import sys
import types
from types import SimpleNamespace

import jax
import pytest

from jaxmnist import provenance
from jaxmnist.logs import installed
from jaxmnist.runs import pictures


@pytest.fixture
def steps(monkeypatch) -> list[int]:
    """The epochs that a stand-in for wandb is given."""
    found: list[int] = []
    run = SimpleNamespace(id="a1", log=lambda _, step: found.append(step), finish=lambda: None)
    module = types.ModuleType("wandb")
    module.__dict__.update(init=lambda **_: run, Settings=lambda **named: named)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(installed, "find_spec", lambda name: name)
    monkeypatch.setattr(pictures, "write_picture", lambda _, path: path.touch())
    return found


@pytest.mark.slow
def test_run_is_logged_traced_and_told_of(
    npz, options, tmp_path, run_command, steps, monkeypatch, refused
):
    out = tmp_path / "run"
    options = [*options[:-2], "--checkpoint-every", "1"]
    words = ["train", "--dataset", npz, "--out", out, *options, "--log", "wandb", "--profile"]
    printed = run_command(*words, "-v")
    assert steps == [0, 1]
    (trace,) = out.glob("profile/plugins/profile/*/*.xplane.pb")
    planes = {plane.name for plane in jax.profiler.ProfileData.from_file(str(trace)).planes}
    assert any("CPU" in name or "GPU" in name for name in planes)
    for words in (
        f"run: {out}, dataset: {npz}, hidden: (8, 6), optimizer: momentum",
        f"jax {provenance.versions()['jax']}",
        "data: 300 training and 100 test samples in memory, SHA-256 ",
        "parameters: 6,404",
        f"its checkpoint: {out / 'checkpoints' / '2'}",
    ):
        assert words in printed
    assert printed.count("epoch 0 took") == 1
    # It is resumed with its logs, and says nothing.
    assert run_command("train", "--resume", out, "--epochs", "3", "--quiet") == ""
    assert steps == [0, 1, 2]
    assert len(list(out.glob("profile/plugins/profile/*"))) == 1
    # Where the library is gone, the run goes on without.
    monkeypatch.setattr(installed, "find_spec", lambda _: None)
    printed = run_command("train", "--resume", out, "--epochs", "4")
    assert "the log wandb of this run is not continued" in printed
    assert "pip install 'jaxmnist[wandb]'" in printed
    assert steps == [0, 1, 2]
    refused(["train", "--log", "wandb", "--out", tmp_path / "new"], "needs wandb", "pip install")
    assert not (tmp_path / "new").exists()
    refused(["train", "--log", "wandbb"], "wandbb")


@pytest.mark.slow
def test_place_of_a_trace_that_cannot_be_written_is_refused(npz, options, tmp_path, refused):
    (tmp_path / "file").write_text("")
    words = ["train", "--dataset", npz, "--out", tmp_path / "run", *options]
    refused([*words, "--profile", tmp_path / "file"], "cannot write a trace to")


@pytest.mark.slow
def test_quiet_holds_for_every_command_and_contradicts_verbose(run, tmp_path, run_command, refused):
    assert run_command("evaluate", run, "-q") == ""
    assert run_command("runs", tmp_path, "--json", "-q") == "[]\n"
    refused(["evaluate", tmp_path / "none", "-q"], "holds no run")
    refused(["evaluate", run, "-q", "--verbose"], "-q and --verbose contradict each other")
