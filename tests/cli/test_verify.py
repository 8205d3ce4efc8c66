import functools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jaxmnist as jm
from jaxmnist import cli, conventions, optim
from jaxmnist.verify import report, suite
from jaxmnist.verify.compare import Comparison, Comparisons, Divergence, Errors


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(suite, "OPTIMIZER_STEPS", 12)
    monkeypatch.setattr(suite, "OPTIMIZER_GRADIENTS", ("random",))
    monkeypatch.setattr(suite, "MODEL_IMAGES", 16)
    monkeypatch.setattr(suite, "TRAINING_IMAGES", 300)
    monkeypatch.setattr(suite, "TRAINING_RUNS", suite.TRAINING_RUNS[:1])
    monkeypatch.setattr(suite, "Config", functools.partial(jm.Config, hidden=(8,)))


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


def verify(tmp_path: Path, *arguments: object) -> tuple[Any, Any]:
    """The exit status of the command, and the JSON that it wrote, or None."""
    out = tmp_path / "verify.json"
    status: Any = 0
    try:
        cli.main(["verify", *map(str, arguments), "--out", str(out)])
    except SystemExit as stopped:
        status = stopped.code
    return status, json.loads(out.read_text()) if out.exists() else None


@pytest.mark.slow
@pytest.mark.usefixtures("torch")
def test_everything_passes(tmp_path, capsys):
    status, written = verify(tmp_path)
    said = capsys.readouterr().out
    assert status == 0, said
    assert written["passed"] is True
    assert written["command"] == "jaxmnist verify all --dtype float64"
    assert written["versions"].keys() >= {"python", "jaxmnist", "jax", "optax", "numpy", "torch"}
    assert written["machine"].startswith(f"{platform.machine()}, {os.cpu_count()} cores")
    names = [check["check"] for check in written["checks"]]
    assert {name.split()[0] for name in names} == {
        "losses",
        "model,",
        *optim.NAMES,
        "training",
        "calculus",
    }
    assert "training on 300 images, sgd (document)" in names
    count = sum(len(check["comparisons"]) for check in written["checks"])
    assert f"{count} of {count} comparisons passed" in said
    assert f"wrote: {tmp_path / 'verify.json'}" in said
    rows = [line for line in said.splitlines() if line.startswith("│")]
    assert all("✓" in row for row in rows)
    assert sum("(pytorch)" in row and "torch" in row for row in rows) >= len(optim.NAMES)


@pytest.mark.slow
def test_float32_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(suite, "OPTIMIZER_GRADIENTS", ("random", "quadratic"))
    status, written = verify(tmp_path, "optimizers", "--dtype", "float32", "--against", "optax")
    assert status == 0
    tolerances = [part["tolerance"] for check in written["checks"] for part in check["comparisons"]]
    assert min(tolerances) > 1e-7
    names = {part["name"] for part in written["checks"][0]["comparisons"]}
    assert names == {"random: displacement", "quadratic: displacement"}


@pytest.mark.slow
def test_a_convention_against_another_home_fails_and_says_why(tmp_path, torch, capsys):
    status, written = verify(
        tmp_path, "optimizers", "--convention", "document", "--against", "torch"
    )
    assert status == 1
    assert written["passed"] is False
    said = capsys.readouterr().out
    assert "adam (document) against torch: They differ by epsilon's place: inside the root" in said
    verdicts = {check["check"].split()[0]: check["passed"] for check in written["checks"]}
    assert verdicts == {name: name == "adadelta" for name in optim.NAMES}
    adam = written["checks"][-1]
    assert "epsilon's place" in adam["explanation"]
    first = adam["comparisons"][0]["first_divergence"]
    assert first["step"] == 0
    assert first["actual"] != first["expected"]


@pytest.mark.usefixtures("torch")
def test_a_changed_default_is_caught(tmp_path, monkeypatch):
    table = {**conventions.TABLE["rmsprop"]["pytorch"], "decay": 0.991}
    monkeypatch.setitem(conventions.TABLE["rmsprop"], "pytorch", table)
    status, written = verify(tmp_path, "optimizers", "--against", "torch")
    assert status == 1
    failed = [check["check"] for check in written["checks"] if not check["passed"]]
    assert failed == ["rmsprop (pytorch)"]


@pytest.mark.slow
def test_without_torch_the_rest_is_run(tmp_path, capsys, without_torch):
    status, written = verify(tmp_path, "losses")
    assert status == 0
    said = capsys.readouterr().out
    assert "1 of 3 checks were not run: PyTorch is not installed; this installs it: pip" in said
    assert said.count("not run") == 2  # A row of the table, and the line.
    assert [check["passed"] for check in written["checks"]] == [True, None, True]


@pytest.mark.parametrize("arguments", [["model"], ["losses", "--against", "torch"]])
def test_without_torch_nothing_else_is_a_mistake(tmp_path, capsys, without_torch, arguments):
    assert verify(tmp_path, *arguments) == (2, None)
    assert capsys.readouterr().err == (
        "jaxmnist: nothing could be verified: PyTorch is not installed; this installs it: "
        "pip install 'jaxmnist[torch]'\n"
    )


def test_without_torch_interop_names_the_command(without_torch):
    params = jm.MLP(hidden=()).init(*_key_and_image())
    for call in (
        lambda: jm.interop.params_to_module(params),
        lambda: jm.interop.opt_state_to_state_dict("sgd", optim.sgd().init(params), params),
    ):
        with pytest.raises(jm.InputError, match=r"pip install 'jaxmnist\[torch\]'"):
            call()


def _key_and_image() -> tuple[Any, Any]:
    import jax
    import jax.numpy as jnp

    return jax.random.key(0), jnp.zeros((1, 28, 28))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["everything"], "cannot be 'everything'"),
        (["losses", "--against", "keras"], "cannot be 'keras'"),
        (["--convention", "keras"], "cannot be 'keras'"),
        (["losses", "--dtype", "float16"], "cannot be 'float16'"),
        (["losses", "--convention", "optax"], "losses has no convention; optimizers and training"),
        (["model", "--against", "numpy"], "model can be compared only with torch"),
        (["calculus", "--against", "torch"], "calculus can be compared only with numpy"),
    ],
)
def test_wrong_input_is_said_in_one_line(tmp_path, capsys, arguments, complaint):
    assert verify(tmp_path, *arguments) == (2, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("jaxmnist: ")
    assert complaint in line


@pytest.mark.parametrize("out", ["none/verify.json", ".", "x" * 300])
def test_an_unwritable_file_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, out):
    monkeypatch.setattr(report, "outcome", lambda check: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["verify", "calculus", "--out", str(tmp_path / out)])
    assert stopped.value.code == 2
    assert "it must be a file in a folder that exists" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_conventions_are_held_against_their_homes():
    def pairs(**options: Any) -> set[tuple[str, str]]:
        checks = suite.checks("optimizers", **options)
        return {(check.name.split()[1].strip("()"), check.against) for check in checks}

    homes = {("document", "numpy"), ("pytorch", "torch"), ("optax", "optax")}
    assert pairs() == homes
    assert pairs(against="torch") == {("pytorch", "torch")}
    assert pairs(against="numpy") == {(each, "numpy") for each in optim.CONVENTIONS}
    assert pairs(convention="pytorch") == {("pytorch", "numpy"), ("pytorch", "torch")}
    assert pairs(convention="document") == {("document", "numpy")}
    assert pairs(convention="optax", against="torch") == {("optax", "torch")}


def test_an_optimizers_row_is_its_worst_comparison():
    def part(name: str, relative: float, tolerance: float) -> Comparison:
        first = Divergence(3, name, (1,), 1.0, 2.0) if relative > tolerance else None
        return Comparison(name, 9, tolerance, Errors(0.0, relative, 0.0), first)

    check = suite.Check("optimizers", "mine", "torch", lambda: Comparisons("", ()))
    close = (part("a", 1e-13, 1e-12), part("b", 5e-13, 1e-12), part("c", 1e-12, 1e-11))
    failed = (*close, part("d", 2e-12, 1e-12), part("e", 1.0, 1e-12))
    for parts, expected in ((close, "5.0e-13"), (failed, "1.0e+00")):
        drawn = report.table([report.Outcome(check, Comparisons("", parts))])
        assert list(drawn.columns[4].cells) == [expected]
    assert list(drawn.columns[7].cells) == ["step 3, e[1]"]


def test_help_loads_no_jax():
    program = (
        "import sys; from jaxmnist import cli\n"
        "try: cli.main([sys.argv[1], '--help'])\n"
        "except SystemExit: sys.exit('jax' in sys.modules or 'torch' in sys.modules)"
    )
    for command in ("verify", "export"):
        subprocess.run([sys.executable, "-c", program, command], check=True, capture_output=True)
