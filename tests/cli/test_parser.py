"""The command line: a mistake in it is one line, and names what was probably meant."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import jaxmnist as jm
from jaxmnist import cli
from jaxmnist.cli import parser
from jaxmnist.cli.examples import EXAMPLES
from jaxmnist.errors import nearest

COMMANDS = (
    "train, predict, evaluate, sweep, runs, reproduce, report, verify, race, figures, export, data"
)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["needs a command", COMMANDS]),
        (["trian"], ["no command 'trian'", COMMANDS, "did you mean 'train'?"]),
        (["data"], ["data needs a command", "list, prepare, show"]),
        (["data", "shwo"], ["no command 'shwo'", "list, prepare, show", "did you mean 'show'?"]),
        (["predict"], ["predict needs RUN", "folder of a run"]),
        (["evaluate"], ["evaluate needs RUN", "folder of a run"]),
        (["reproduce"], ["reproduce needs RUN", "folder of a run"]),
        (["data", "prepare"], ["data prepare needs NAME", "fashion_mnist"]),
        (["export", "run", "onnx"], ["export needs --format", "it does not know onnx"]),
        (["evaluate", "run", "stray"], ["evaluate does not understand stray"]),
        (["train", "-e", "3"], ["train does not understand -e 3"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_incomplete_command_is_refused(arguments, words, refused):
    refused(arguments, *words)


UNREAD = (
    "jaxmnist: --epochs cannot be 'many'; it is --epochs INT Passes over the training images. "
    "(default: 20)"
)


def test_mistake_is_one_line_on_a_terminal(run_on_terminal):
    assert run_on_terminal("train", "--epochs", "many") == (2, UNREAD + "\r\n")
    line = f"no command 'trian'; choose one of {COMMANDS}; did you mean 'train'?"
    assert run_on_terminal("trian") == (2, f"jaxmnist: jaxmnist has {line}\r\n")
    status, shown = run_on_terminal("data", "--help")
    assert status == 0
    assert "\x1b[1m" in shown


@pytest.mark.parametrize("encoding", ["ascii", "UTF-8", "utf-8", "latin-1"])
def test_mistake_is_one_line_in_every_encoding(encoding):
    process = subprocess.run(
        [sys.executable, "-m", "jaxmnist", "train", "--epochs", "many"],
        env={**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "40"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stdout, process.stderr) == (2, "", UNREAD + "\n")


def test_mistake_names_a_long_value_in_one_piece(refused, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    refused(["train", "--epochs", "y" * 150], "y" * 150)
    refused(["predict", "run", "x" * 300 + ".png"], "x" * 300 + ".png")
    assert os.environ["COLUMNS"] == "60"


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert not stopped.value.code
    assert capsys.readouterr() == (f"jaxmnist {jm.__version__}\n", "")


def test_every_option_that_the_parser_has_is_known(capsys):
    """Whether an option exists is read from the signatures, and not asked of the parser."""

    def commands(group: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, found in group.items():
            if callable(found):
                yield (*path, name), found
            else:
                yield from commands(found, (*path, name))

    for path, command in commands(parser.COMMANDS, ()):
        with pytest.raises(SystemExit):
            cli.main([*path, "--help"])
        shown = set(re.findall(r"(?m)^\W*(?:h, )?(--[a-z][a-z0-9-]+)", capsys.readouterr().out))
        assert shown == {*parser._options(command), "--help"}, path


# ------------------------------------------------------------------------------- suggestions


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["train", "--lr", "0.1"], "--learning-rate"),
        (["train", "--lr=0.1"], "--learning-rate"),
        (["train", "--learning-rte", "0.1"], "--learning-rate"),
        (["train", "--bs", "3"], "--batch-size"),
        (["train", "--ebs", "3"], "--eval-batch-size"),
        (["train", "--batchsize", "3"], "--batch-size"),
        (["train", "--optim", "adam"], "--optimizer"),
        (["train", "--nepochs", "3"], "--epochs"),
        (["train", "--num_process", "3"], "--num-processes"),
        (["predict", "--index", "3"], "--indices"),
        (["predict", "run", "--image", "x.png"], "--images"),
        (["evaluate", "run", "--datset", "x"], "--dataset"),
        (["sweep", "--seeds", "0..3"], "--seed"),
        (["sweep", "--lr", "0.1", "--out", "s"], "--learning-rate"),
        (["verify", "--agianst", "torch"], "--against"),
        (["runs", "--jsn"], "--json"),
        (["race", "--optimiser", "adam"], "--optimizers"),
        (["figures", "--re-draw"], "--redraw"),
        (["export", "run", "--fmt", "onnx"], "--format"),
        (["data", "prepare", "kmnist", "--form", "."], "--from"),
        (["--versoin"], "--version"),
        (["--print-complete", "bash"], "--print-completion"),
        (["--halp"], "--help"),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_mistyped_option_names_the_nearest(arguments, meant, refused):
    refused(arguments, "has no option", f"; did you mean {meant}?\n")


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["evalute"], "evaluate"),
        (["data", "ls"], "list"),
        (["train", "--optimizer", "adm"], "adam"),
        (["train", "--optimizer", "SGD"], "sgd"),
        (["train", "--convention", "torch"], "pytorch"),
        (["train", "--dtype", "bf16"], "bfloat16"),
        (["train", "--dataset", "fashion"], "fashion_mnist"),
        (["train", "--dataset", "kminst", "--stream"], "kmnist"),
        (["sweep", "--out", "s", "--optimizer", "ada-delta"], "adadelta"),
        (["verify", "modl"], "model"),
        (["verify", "--against", "pytorch"], "torch"),
        (["race", "rosen"], "rosenbrock"),
        (["race", "--optimizers", "sgd", "momentun"], "momentum"),
        (["figures", "sofmax"], "softmax"),
        (["export", "run", "--format", "onx"], "onnx"),
        (["data", "show", "emnist/digit"], "emnist/digits"),
        (["data", "prepare", "k-mnist"], "kmnist"),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_mistyped_value_names_the_nearest(arguments, meant, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(arguments, f"; did you mean {meant!r}?\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow_except("export", "evaluate")
@pytest.mark.parametrize("command", ["predict", "evaluate", "export"])
def test_mistyped_folder_names_the_run_next_to_it(command, run, refused):
    rest = {"predict": ["--indices", "0"], "export": ["--format", "onnx"]}.get(command, [])
    refused([command, run.with_name("rnu"), *rest], "holds no run", "; did you mean 'run'?\n")


@pytest.mark.parametrize("word", ["", "--", "bogus", "x", 5, None, ["zzz"]])
def test_nothing_near_suggests_nothing(word):
    assert nearest(word, ["adam", "momentum"]) == ""
    assert nearest(word, []) == ""


# ------------------------------------------------------------------------------- what is loaded


LOADED = """
import sys
from collections.abc import Iterator
from typing import Any
from jaxmnist import cli
cli.main(sys.argv[1:])
print("jax" in sys.modules, "matplotlib" in sys.modules)
"""


@pytest.mark.slow_except("export")
@pytest.mark.parametrize(
    "command",
    [["predict", "--indices", "0"], ["evaluate"], ["export", "--format", "safetensors"]],
    ids=lambda command: command[0],
)
def test_command_on_a_run_does_not_load_matplotlib(command, run, tmp_path):
    name, *rest = command
    rest += ["--out", str(tmp_path / "model")] if name == "export" else []
    process = subprocess.run(
        [sys.executable, "-c", LOADED, name, run, *rest], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines()[-1] == "True False"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_question_loads_neither_jax_nor_matplotlib(option):
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jaxmnist", option],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.split("|")[-1].strip() for line in process.stderr.splitlines()}
    assert "jaxmnist.cli.parser" in loaded
    assert not {"jax", "matplotlib"} & loaded


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_of_that_shell(shell, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--print-completion", shell])
    script, err = capsys.readouterr()
    assert (stopped.value.code or 0, err) == (0, "")
    (tmp_path / "script").write_text(script)
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n", tmp_path / "script"], check=True)
    for word in ("reproduce", "--learning-rate", "tensorboard"):
        assert word in script


COMPLETE = """
source {script}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE="{words}"
COMP_POINT=${{#COMP_LINE}}
$(complete -p jaxmnist | sed 's/.*-F \\([^ ]*\\).*/\\1/') jaxmnist "${{COMP_WORDS[-1]}}" x
echo "${{COMPREPLY[*]}}"
"""


def test_bash_completes_commands_options_and_values(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["--print-completion=bash"])
    (tmp_path / "script").write_text(capsys.readouterr().out)
    for words, expected in (
        ("jaxmnist repr", "reproduce"),
        ("jaxmnist data p", "prepare"),
        ("jaxmnist train --opt", "--optimizer"),
    ):
        code = COMPLETE.format(script=tmp_path / "script", words=words)
        ended = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        assert ended.stdout.split() == [expected]


@pytest.mark.parametrize("words", [[], ["fish"], ["bash", "zsh"]], ids=str)
def test_completion_of_no_known_shell_is_refused(words, refused):
    refused(["--print-completion", *words], "--print-completion needs a shell: bash or zsh")


def commands(group: Any = parser.COMMANDS, path: str = "") -> Iterator[str]:
    for name, found in group.items():
        yield from [f"{path}{name}"] if callable(found) else commands(found, f"{path}{name} ")


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_has_two_examples_that_are_parsed(command, capsys, monkeypatch, tmp_path):
    (tmp_path / "runs/adam").mkdir(parents=True)
    (tmp_path / "runs/adam/config.json").write_text('{"config": {"optimizer": "adam"}}')
    monkeypatch.chdir(tmp_path)
    examples = EXAMPLES[command]
    for example in examples:
        words = shlex.split(example.partition(" &&")[0])
        assert words[: 1 + len(command.split())] == ["jaxmnist", *command.split()]
        assert callable(parser.parse(words[1:]))
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--help"])
    shown = capsys.readouterr().out
    assert len(examples) == 2
    assert all(example in shown for example in examples)


def test_every_command_is_parsed_without_any_option():
    for name in ("train", "verify", "figures", "race"):
        assert callable(parser.parse([name]))


@pytest.mark.slow
def test_max_bytes_holds_for_one_command_and_is_refused_in_short(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("JAXMNIST_MAX_BYTES", raising=False)
    race = ["race", "valley", "--optimizers", "sgd", "--steps", "1000"]
    with pytest.raises(SystemExit):
        cli.main([*race, "--max-bytes", "1M"])
    assert "needs 1.7 MiB of memory; at most 1.0 MiB" in capsys.readouterr().err
    cli.main([*race, "--max-bytes=2M"])
    for value in ("0", "-1", "x", "9" * 400, "1.5G", "\u0663"):
        with pytest.raises(SystemExit) as stopped:
            cli.main([*race, "--max-bytes", value])
        error = capsys.readouterr().err
        assert (stopped.value.code, error.count("\n")) == (2, 1)
        assert error.startswith("jaxmnist: --max-bytes is ")
        assert len(error) < 200
