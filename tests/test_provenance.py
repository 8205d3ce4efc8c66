"""The record that every file of results carries."""

import os
import platform
import tomllib
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
import torch

import jaxmnist as jm
from jaxmnist import provenance


def test_record_has_the_command_the_machine_and_the_versions():
    cores = os.cpu_count()
    assert provenance.record("python measure.py") == {
        "command": "python measure.py",
        "machine": f"{platform.machine()}, {cores} cores, {jax.default_backend()}",
        "versions": {
            "jaxmnist": jm.__version__,
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
    }


def test_record_without_a_command_has_no_such_key():
    assert list(provenance.record()) == ["machine", "versions"]


def test_versions_are_those_of_the_modules_that_run():
    found = provenance.versions("torch", "python", "jax")
    assert list(found) == ["jaxmnist", "jax", "numpy", "torch", "python"]
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()


def test_a_package_that_is_not_installed_is_omitted():
    assert "no-such-package" not in provenance.versions("no-such-package")


def test_the_version_stands_in_one_place():
    package = Path(jm.__file__).parent
    pyproject = tomllib.loads((package.parent / "pyproject.toml").read_text())
    version = pyproject["project"]["version"]
    assert jm.__version__ == metadata.version("jaxmnist") == version
    assert not [path for path in package.rglob("*.py") if f'"{version}"' in path.read_text()]
