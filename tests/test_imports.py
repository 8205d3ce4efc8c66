"""What importing the package costs, what it offers, and which of its parts may know which."""

import ast
import graphlib
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import jaxmnist as jm

PACKAGE = Path(jm.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

HEAVY = (
    "jax",
    "flax",
    "optax",
    "orbax",
    "grain",
    "tensorflow",
    "tensorflow_datasets",
    "matplotlib",
    "torch",
    "tensorboardX",
    "wandb",
    "mlflow",
    "trackio",
)
COMMANDS = (
    (),
    ("train",),
    ("predict",),
    ("evaluate",),
    ("figures",),
    ("race",),
    ("sweep",),
    ("runs",),
    ("reproduce",),
    ("verify",),
    ("export",),
    ("data",),
    ("data", "list"),
    ("data", "prepare"),
    ("data", "show"),
)

# A module imports only modules of a smaller number, or of its own package.
LAYERS = {
    "errors": 0,
    "mistaken_files": 0,
    "provenance": 0,
    "signals": 0,
    "conventions": 1,
    "atomic": 1,
    "forms": 1,
    "calculus": 1,
    "reading": 2,
    "locks": 2,
    "config": 3,
    "losses": 3,
    "model": 3,
    "optim": 3,
    "data": 3,
    "interop": 4,
    "tasks": 5,
    "training": 6,
    "hypergradients": 7,
    "logs": 7,
    "sweep": 7,
    "distributed": 7,
    "landscapes": 7,
    "plots": 8,
    "verify": 9,
    "parity": 10,
    "runs": 11,
    "export": 12,
    "figures": 12,
    "report": 12,
    "cli": 13,
    "__main__": 14,
}


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_import_loads_nothing_heavy():
    code = f"import sys, jaxmnist; dir(jaxmnist); print(sorted(set({HEAVY}) & set(sys.modules)))"
    assert run(code) == "[]\n"


def test_help_answers_without_anything_heavy():
    code = f"""
import contextlib, io, sys
from jaxmnist.cli import main
for command in {COMMANDS}:
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            main([*command, "--help"])
    except SystemExit as stopped:
        print(stopped.code, shown.getvalue().split("[-h]")[0].strip())
print(sorted(set({HEAVY}) & set(sys.modules)))
"""
    usages = [" ".join(("0 usage: jaxmnist", *command)) for command in COMMANDS]
    assert run(code).splitlines() == [*usages, "[]"]


@pytest.mark.parametrize(
    "mistake",
    [
        ["trian"],
        ["train", "--learning-rate", "-1"],
        ["train", "--optimizer", "x"],
        ["predict", "r"],
    ],
    ids=" ".join,
)
def test_mistyped_command_is_refused_without_anything_heavy(mistake):
    code = f"""
import sys
from jaxmnist.cli import main
try:
    main({mistake})
except SystemExit as stopped:
    print(stopped.code, sorted(set({HEAVY}) & set(sys.modules)))
"""
    assert run(code) == "2 []\n"


# ------------------------------------------------------------------------------- public names


PUBLIC = {
    "": "load_dataset Dataset Config default_hyper hyper make_train fit MLP normalize InputError "
    "DivergedError History TrainState hypergradient checkpointed_scan",
    "optim.": "sgd momentum adagrad rmsprop adadelta adam create",
    "losses.": "binary_cross_entropy binary_cross_entropy_with_logits softmax cross_entropy "
    "cross_entropy_with_integer_labels accuracy",
    "sweep.": "run parse rows summary Sweep Cell",
    "interop.": "params_to_state_dict params_from_state_dict save_safetensors load_safetensors",
}


@pytest.mark.parametrize(
    "name", [home + name for home, names in PUBLIC.items() for name in names.split()]
)
def test_public_name_is_reachable(name):
    found = jm
    for part in name.split("."):
        assert part in dir(found)
        found = getattr(found, part)
    assert callable(found)


def test_lazy_names_are_those_the_type_checker_sees():
    declared, aliases = {}, {}
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            if alias.asname in vars(jm)["_ALIASES"]:
                aliases[alias.asname] = f"{node.module}.{alias.name}"
            else:
                assert alias.asname == alias.name, "re-exports read `X as X`"
                declared[alias.name] = node.module
    homes = {name: f"jaxmnist.{home}" for name, home in vars(jm)["_HOMES"].items()}
    assert declared == {**homes, **dict.fromkeys(vars(jm)["_MODULES"], "jaxmnist")}
    assert aliases == {name: f"jaxmnist.{home}" for name, home in vars(jm)["_ALIASES"].items()}


def test_modules_under_an_earlier_name_are_the_modules():
    assert jm.parallel is importlib.import_module("jaxmnist.distributed.data_parallel")
    assert jm.processes is importlib.import_module("jaxmnist.distributed.processes")
    assert jm.hyper is jm.default_hyper


def test_dir_lists_every_lazy_name_and_unknown_ones_are_refused():
    names = (*vars(jm)["_MODULES"], *vars(jm)["_ALIASES"], *vars(jm)["_HOMES"], "__version__")
    assert dir(jm) == sorted(names)
    assert all(getattr(jm, name) is not None for name in dir(jm))
    with pytest.raises(AttributeError, match="'jaxmnist' has no attribute 'nonsense'"):
        vars(jm)["__getattr__"]("nonsense")


# ------------------------------------------------------------------------------- layers


def top_name(path: Path) -> str:
    """The part of the package that a file belongs to: `data`, `training`, ..."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(node: ast.AST, inside: bool = False):
    """Every module that the code imports, and whether it does so inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from ((f"{child.module}.{alias.name}", inside) for alias in child.names)
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, inside or is_function)


def imported_parts(tree: ast.AST):
    """The parts of the package that the code imports, by way of its public names too."""
    for module, _ in imports(tree):
        package, _, rest = module.partition(".")
        if package == "jaxmnist" and rest and rest != "__version__":
            part = rest.split(".")[0]
            homes = {**vars(jm)["_HOMES"], **vars(jm)["_ALIASES"]}
            yield homes.get(part, part).split(".")[0]


def upward(part: str, tree: ast.AST) -> list[str]:
    return [
        other for other in imported_parts(tree) if other != part and LAYERS[other] >= LAYERS[part]
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    if path != PACKAGE / "__init__.py":
        part = top_name(path)
        assert part in LAYERS, f"give {part} a layer"
        assert upward(part, ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from jaxmnist import runs", ["runs"]),
        ("from jaxmnist import fit", ["training"]),
        ("def f():\n    import jaxmnist.cli", ["cli"]),
        ("from jaxmnist.data.idx import load_idx\nimport jax", []),
    ],
)
def test_upward_imports_are_found(code, found):
    assert upward("model" if found else "training", ast.parse(code)) == found


def test_layers_have_no_circle():
    """Not by the numbers, but by the imports themselves."""
    graph = {part: set() for part in LAYERS}
    for path in SOURCES:
        part = top_name(path)
        if part in LAYERS:
            others = set(imported_parts(ast.parse(path.read_text()))) - {part}
            graph[part] |= others
    ordered = list(graphlib.TopologicalSorter(graph).static_order())
    assert ordered.index("errors") < ordered.index("training") < ordered.index("cli")


def test_a_circle_is_found():
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter({"runs": {"cli"}, "cli": {"runs"}}).static_order())


# ------------------------------------------------------------------------------- purity


PURE = ("state", "setup", "step", "epoch")  # Of training.
OUTSIDE = ("os", "io", "pathlib", "shutil", "tempfile", "time", "subprocess", "socket", "grain")


def module_file(name: str) -> Path | None:
    """The source of `jaxmnist.data.dataset`, or None where that is no module."""
    path = PACKAGE.joinpath(*name.split(".")[1:])
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


def reached(names: list[str]) -> set[str]:
    """Every module that these import, by way of the package's own modules too."""
    found, waiting = set(), [*names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        path = module_file(name) if name.startswith("jaxmnist.") else None
        if path is not None:
            for imported, _ in imports(ast.parse(path.read_text())):
                # `from jaxmnist.data.dataset import Arrays`: the module is before the last dot.
                is_name = imported.startswith("jaxmnist.") and module_file(imported) is None
                waiting.append(imported.rpartition(".")[0] if is_name else imported)
    return found


def reads_outside(names: set[str]) -> list[str]:
    """Those that touch a disk, a clock or another process."""
    readers = ("tfds", "stream", "load", "idx", "npz", "bundled", "pictures", "preparation")
    readers += ("arrays", "image_folder", "stored")
    own = {"jaxmnist.atomic", *(f"jaxmnist.data.{reader}" for reader in readers)}
    return sorted(name for name in names if name.split(".")[0] in OUTSIDE or name in own)


def test_pure_part_of_training_reads_no_disk():
    found = reached([f"jaxmnist.training.{name}" for name in PURE])
    assert {"jaxmnist.data.batches", "jaxmnist.model", "jaxmnist.losses", "jaxmnist.optim"} <= found
    assert reads_outside(found) == []
    assert not {"jaxmnist.training.streaming", "jaxmnist.training.host_loop"} & found


def test_a_module_that_reads_a_disk_is_found():
    found = reads_outside(reached(["jaxmnist.training.host_loop"]))
    assert {"jaxmnist.data.tfds", "jaxmnist.data.stream", "pathlib.Path"} <= set(found)


# ------------------------------------------------------------------------------- libraries


def test_heavy_libraries_are_imported_only_where_they_belong():
    found = {
        (library, path.relative_to(PACKAGE).as_posix(), inside)
        for path in SOURCES
        for module, inside in imports(ast.parse(path.read_text()))
        for library in [module.split(".")[0]]
        if library in HEAVY
    }
    assert {file for library, file, _ in found if library == "jax"}
    for library, file, inside in found:
        part = top_name(PACKAGE / file)
        where = f"{library} in {file}"
        assert library != "tensorflow", where
        if library == "torch":
            assert part in ("verify", "parity", "interop"), where
            assert inside, where
        if library in ("tensorflow_datasets", "grain"):
            assert part == "data", where
        if library == "matplotlib":
            assert part in ("plots", "figures"), where
        if library in ("tensorboardX", "wandb", "mlflow", "trackio"):
            assert part == "logs", where
            assert inside, where
        if library == "orbax":
            # Loading it takes a third of a second, and only a checkpoint needs it.
            assert part == "runs", where
            assert inside, where
        if part in (
            "__init__",
            "__main__",
            "cli",
            "config",
            "conventions",
            "errors",
            "atomic",
        ):
            assert inside, where


def test_pyplot_is_never_imported():
    for path in SOURCES:
        modules = [module for module, _ in imports(ast.parse(path.read_text()))]
        assert not [module for module in modules if module.startswith("matplotlib.pyplot")], path
