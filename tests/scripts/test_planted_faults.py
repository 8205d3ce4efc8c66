"""The benchmark of faults judges what is said about a port, and its cases are well formed."""

import sys
from importlib import import_module
from pathlib import Path

import jax
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
planted, planted_faults = map(import_module, ("planted", "planted_faults"))
CASES = {case.name: case for case in planted.CASES}


@pytest.fixture(autouse=True)
def _other_peoples_functions():
    """They add a bias to a batch."""
    with jax.numpy_rank_promotion("allow"):
        yield


def test_there_are_enough_cases_of_different_names() -> None:
    assert len(CASES) == len(planted.CASES)
    faults = [case for case in planted.CASES if case.fault]
    assert len(faults) >= 80
    assert len(planted.CASES) - len(faults) >= 40
    assert len({case.model for case in planted.CASES}) >= 12
    assert {case.library for case in faults} == {"Linen", "NNX", "Equinox", "function"}


def test_a_fault_has_a_place_and_a_keyword_and_a_reason_for_several_places() -> None:
    for case in planted.CASES:
        assert bool(case.fault) == bool(case.locations) == bool(case.keywords), case.name
        assert not case.fault or bool(case.why) == (len(case.locations) > 1), case.name


@pytest.mark.slow
def test_a_fault_is_judged() -> None:
    case = CASES["MLP/Linen/leaky slope 0.15 for 0.2"]
    row = planted_faults.run(case, "float64")
    assert (row["passed"], row["location"]) == (False, "act2")
    assert row["place_right"]
    assert row["cause_named"]
    elsewhere = case._replace(locations=("act1",), keywords=("epsilon",))
    row = planted_faults.run(elsewhere, "float64")
    assert not row["place_right"]
    assert not row["cause_named"]
    assert planted_faults.totals([row])["found"] == 1


def test_what_raises_is_not_found() -> None:
    def broken():
        raise ValueError("no port")

    case = CASES["MLP/Linen/leaky slope 0.15 for 0.2"]._replace(build=broken)
    row = planted_faults.run(case, "float64")
    assert row["raised"] == "ValueError: no port"
    assert not row["place_right"]
