"""The attack on the readers sees what a reader must not do, and its damage is damage."""

import json
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmnist import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
readers, damage = import_module("attack_readers"), import_module("attack_damage")


def call(what):
    if isinstance(what, Exception):
        raise what
    return what()


@pytest.mark.parametrize(
    ("what", "outcome", "finding"),
    [
        (lambda: None, "read", None),
        (InputError("a\nb"), "refused", None),  # Made one line by the error itself.
        (InputError("x" * 20_000), "refused", "a message of 20000 characters"),
        (ValueError("x"), "raised", "ValueError at test_attack.py"),
        (MemoryError(), "raised", "MemoryError"),
        (lambda: warnings.warn("odd", stacklevel=1), "read", "warned: UserWarning: odd"),
        (lambda: sys.stderr.write("noise"), "read", "said on stderr: noise"),
    ],
)
def test_what_a_reader_must_not_do_is_found(what, outcome, finding):
    found, fault = readers._watched(lambda: call(what))
    assert found == outcome
    assert (fault is None) if finding is None else fault.startswith(finding)


@pytest.mark.parametrize("message", ["a\nb", "a\x1b[31mb", "a\udcffb"])
def test_message_that_cannot_be_printed_is_a_fault(message):
    assert readers._fault_of(message) is not None
    assert readers._fault_of(str(InputError(message))) is None


@settings(max_examples=100, deadline=None, database=None)
@given(data=st.data())
def test_damage_gives_other_bytes_of_many_kinds(data):
    sound = json.dumps({"a": [1, {"b": None}], "c": {"d": "e"}}).encode()
    for strategy in (damage.damaged_json, damage.damaged_bytes):
        assert isinstance(data.draw(strategy(sound)), bytes)
