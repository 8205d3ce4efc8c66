"""What is damaged or changed in a run's folder is noticed; nothing that is whole is lost by it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxmnist as jm
from jaxmnist import runs

pytestmark = pytest.mark.usefixtures("undrawn")


def resume(folder: Path) -> runs.Session:
    session = runs.open_run(jm.Config(), resume=folder)
    session.close()
    return session


# ------------------------------------------------------------------------------- metrics


def edited(number: int, change: Callable[[dict], dict]) -> Callable[[list[str]], list[str]]:
    """A change of one line, from 0, as JSON."""

    def edit(lines: list[str]) -> list[str]:
        lines[number] = json.dumps(change(json.loads(lines[number]))) + "\n"
        return lines

    return edit


def with_value(name: str, value: object) -> Callable[[dict], dict]:
    return lambda row: {**row, name: value}


DAMAGED_METRICS = {
    "a key of the last line": edited(
        3, lambda row: {("eval_lozz" if k == "eval_loss" else k): v for k, v in row.items()}
    ),
    "a key of the first line": edited(
        0, lambda row: {k: v for k, v in row.items() if k != "epoch"}
    ),
    "no JSON in the first line": lambda lines: ["{\n", *lines[1:]],
    "no object": edited(1, lambda _: []),  # type: ignore[return-value]
    "another value": edited(1, lambda row: {**row, "eval_loss": row["eval_loss"] + 1e-6}),
    "an epoch twice": lambda lines: [*lines[:2], *lines[1:]],
    "another order": lambda lines: [lines[1], lines[0], *lines[2:]],
    "fewer than the oldest checkpoint": lambda lines: lines[:1],
    "none": lambda _: [],
    "more than the run has": lambda lines: (
        lines + [json.dumps({**json.loads(lines[0]), "epoch": epoch}) + "\n" for epoch in (4, 5)]
    ),
    "a word": edited(2, with_value("eval_loss", "low")),
    "nothing": edited(2, with_value("eval_accuracy", None)),
    "a truth": edited(2, with_value("eval_accuracy", True)),
    "no finite loss": edited(2, with_value("train_loss", float("nan"))),
    "400 digits": edited(2, with_value("train_loss", 10**400)),
    "5000 digits": lambda lines: [
        lines[0],
        lines[1].replace("0.", "1" * 5000 + ".", 1),
        *lines[2:],
    ],
    "deep": lambda lines: ["[" * 100_000 + "\n", *lines[1:]],
    "another encoding": lambda lines: [lines[0].replace("epoch", "\udcff"), *lines[1:]],
}


@pytest.mark.slow_except(
    "another order", "nothing", "another encoding", "400 digits", "no object", "5000 digits"
)
@pytest.mark.parametrize("kind", [*DAMAGED_METRICS, "missing", "a FIFO"])
def test_metrics_that_cannot_be_trusted_are_refused_and_nothing_changes(kind, stopped, contents):
    path = stopped / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    if kind in DAMAGED_METRICS:
        path.write_text("".join(DAMAGED_METRICS[kind](lines)), errors="surrogateescape")
    else:
        path.unlink()
    if kind == "a FIFO":
        os.mkfifo(path)
    before = contents(stopped)
    with pytest.raises(jm.InputError) as refusal:
        resume(stopped)
    said = str(refusal.value)
    assert str(path) in said
    assert "\n" not in said
    if kind != "a FIFO":
        assert f"cp {stopped}/checkpoints/4/metrics.jsonl {stopped}" in said
        assert "or train again with --overwrite; nothing was changed" in said
    assert contents(stopped) == before


@pytest.mark.slow_except("line 3")
@pytest.mark.parametrize("kind", ["missing", "line 3"])
def test_the_ways_out_lead_to_the_same_bytes(kind, stopped, whole, train, results):
    path = stopped / "metrics.jsonl"
    if kind == "missing":
        path.unlink()
    else:
        path.write_text(path.read_text().replace('"epoch": 2', '"epoch": 7'))
    with pytest.raises(jm.InputError) as refusal:
        resume(stopped)
    if kind == "missing":
        subprocess.run(["sh", "-c", str(refusal.value).split(": ")[2].split(",")[0]], check=True)
        epoch = 4
    else:
        kept = "keep its first 2 lines only, and the run resumes after epoch 2"
        assert kept in str(refusal.value)
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
        epoch = 2
    assert train("--resume", stopped).startswith(f"resuming after epoch {epoch} of 5")
    assert results(stopped) == results(whole)


@pytest.mark.slow
def test_what_a_run_was_further_with_is_kept_until_it_is_as_far(stopped, npz):
    """A resume that is stopped again, and again, loses nothing."""
    (stopped / "checkpoints" / "4" / "record" / "metadata").write_text("{")
    model, metrics = (stopped / "model.safetensors"), (stopped / "metrics.jsonl")
    furthest = {path.name: path.read_bytes() for path in (model, metrics)}
    session = resume(stopped)
    assert (session.epoch, model.read_bytes()) == (2, furthest["model.safetensors"])
    dataset = jm.load_dataset(npz)

    class StoppedError(Exception):
        pass

    for last in (2, 3):
        session = resume(stopped)
        assert session.epoch == 2

        def record(index: int, *reached, last=last) -> None:
            runs.record_epoch(session.run, index, *reached)  # noqa: B023
            if index == last:
                raise StoppedError

        aside = stopped / "superseded"
        for name, content in furthest.items():
            assert (aside / name).read_bytes() == content
        assert (aside / "checkpoints" / "4").is_dir()
        with pytest.raises(StoppedError):
            jm.fit(session.run.config, dataset, state=session.state, epoch=2, on_epoch=record)
    # As far as it was: its fourth epoch and its checkpoint are there again.
    assert not aside.exists()
    assert metrics.read_bytes() == furthest["metrics.jsonl"]
    runs.load(stopped)
    assert resume(stopped).epoch == 4


# ------------------------------------------------------------------------------- checkpoints


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << 4
    path.write_bytes(content)


@pytest.mark.slow
def test_flipped_bits_in_a_checkpoint_are_noticed(stopped, whole, tmp_path):
    sound = resume(Path(shutil.copytree(stopped, tmp_path / "sound"))).state
    files = [
        path
        for path in sorted((stopped / "checkpoints" / "4" / "default").rglob("*"))
        if path.is_file() and path.parent.name == "d"
    ]
    passed_over = 0
    for number in range(8):
        copy = Path(shutil.copytree(stopped, tmp_path / str(number)))
        largest = sorted(files, key=lambda path: -path.stat().st_size)[number % 2]
        flip(copy / largest.relative_to(stopped), (number + 1) / 9)
        session = resume(copy)
        if session.epoch == 2:
            assert "passed over for the checkpoint before it" in session.notes[0]
            passed_over += 1
            continue
        assert session.epoch == 4
        for one, other in zip(jax.tree.leaves(session.state), jax.tree.leaves(sound), strict=True):
            np.testing.assert_array_equal(one, other)
    assert passed_over >= 4


def test_flipped_bit_in_the_configuration_is_noticed(stopped, contents):
    path = stopped / "config.json"
    path.write_text(path.read_text().replace('"learning_rate": 0.01', '"learning_rate": 0.03'))
    before = contents(stopped)
    with pytest.raises(jm.InputError, match=r"learning_rate is 0\.03, and the .*with 0\.01"):
        resume(stopped)
    assert contents(stopped) == before


# ------------------------------------------------------------------------------- the model


def test_flipped_bit_in_the_model_is_noticed_and_resuming_writes_it_anew(
    copy, whole, train, results
):
    flip(copy / "model.safetensors", 0.7)
    with pytest.raises(
        jm.InputError, match=r"model\.safetensors is not what was written: .*--resume"
    ):
        runs.load(copy)
    assert train("--resume", copy).startswith("resuming after epoch 5 of 5")
    assert results(copy) == results(whole)


@pytest.mark.slow
def test_model_of_the_epoch_before_is_the_runs_too(copy):
    """The process may have died after the new one was recorded and before it was written."""
    about = json.loads((copy / "config.json").read_text())
    assert len(about["model_sha256"]) == 2
    about["model_sha256"] = [about["model_sha256"][1], "0" * 64]
    (copy / "config.json").write_text(json.dumps(about))
    runs.load(copy)
    about["model_sha256"] = ["1" * 64, "0" * 64]
    (copy / "config.json").write_text(json.dumps(about))
    with pytest.raises(jm.InputError, match="not what was written"):
        runs.load(copy)


# ------------------------------------------------------------------------------- earlier versions


@pytest.mark.slow
def test_run_of_an_earlier_version_is_loaded_and_resumed(stopped, whole, train, results):
    """It has no digests, no copies of metrics and no record of data and machine."""
    for step in ("2", "4"):
        shutil.rmtree(stopped / "checkpoints" / step / "record")
        (stopped / "checkpoints" / step / "metrics.jsonl").unlink()
    about = json.loads((stopped / "config.json").read_text())
    for name in ("data_sha256", "machines", "model_sha256"):
        del about[name]
    (stopped / "config.json").write_text(json.dumps(about, indent=2) + "\n")
    runs.load(stopped)
    printed = train("--resume", stopped).splitlines()
    assert [line[:9] for line in printed[:2]] == ["resuming ", "epoch: 4,"]
    for name, content in results(whole).items():
        assert name == "config.json" or results(stopped)[name] == content
