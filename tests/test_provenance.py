"""The record that every file of results carries."""

import os
import platform
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

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


def test_versions_are_those_of_the_modules_that_run(torch):
    found = provenance.versions("torch", "python", "jax")
    assert list(found) == ["jaxmnist", "jax", "numpy", "torch", "python"]
    assert found["torch"] == torch.__version__
    assert found["python"] == platform.python_version()


def test_a_package_that_is_not_installed_is_omitted():
    assert "no-such-package" not in provenance.versions("no-such-package")


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    ended = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return ended.stdout.strip()


def test_machine_has_all_that_computes_and_the_commit_that_is_checked_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    (tmp_path / "task.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "untracked").write_text("")
    monkeypatch.setenv("XLA_FLAGS", "--some")
    found = provenance.machine()
    for name in ("jaxmnist", "jax", "jaxlib", "flax", "optax", "numpy"):
        assert found[name] == metadata.version(name)
    assert found["python"] == platform.python_version()
    assert (found["device"], found["xla_flags"]) == (jax.devices()[0].device_kind, "--some")
    generator = jax.random.key_impl(jax.random.key(0))
    assert f"default_prng_impl={generator}" in str(found["jax_flags"])
    head = {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    assert provenance.commit() == head == {name: found[name] for name in head}
    (tmp_path / "task.py").write_text("2")
    assert provenance.commit() == {**head, "dirty": True}


def test_no_repository_no_commit_and_no_git_have_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.commit() == {}
    git(tmp_path, "init", "-q")
    assert provenance.commit() == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == {}
    assert provenance.machine()["device"] == jax.devices()[0].device_kind


def test_a_repositorys_settings_start_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    hook.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(hook))
    assert provenance.commit()["dirty"] is False
    assert not (tmp_path / "started").exists()


def test_the_version_stands_in_one_place():
    package = Path(jm.__file__).parent
    pyproject = tomllib.loads((package.parent / "pyproject.toml").read_text())
    version = pyproject["project"]["version"]
    assert jm.__version__ == metadata.version("jaxmnist") == version
    assert not [path for path in package.rglob("*.py") if f'"{version}"' in path.read_text()]
