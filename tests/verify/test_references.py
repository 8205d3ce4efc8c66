"""The formulas in NumPy: their arguments, and their schedule."""

import inspect

import numpy as np
import pytest

from jaxmnist import optim, verify
from jaxmnist.verify.references import RECURRENCES


@pytest.mark.parametrize("name", optim.NAMES)
def test_a_recurrence_takes_the_arguments_of_its_optimizer(name: str) -> None:
    ours = inspect.signature(getattr(optim, name)).parameters
    theirs = inspect.signature(RECURRENCES[name]).parameters
    assert {k: p.default for k, p in ours.items()} == {k: p.default for k, p in theirs.items()}


def test_a_recurrences_schedule_is_first_called_with_0() -> None:
    calls: list[int] = []
    sgd = verify.numpy_reference("sgd", lambda count: calls.append(count) or 0.5)
    state = sgd.init(np.zeros(2))
    for _ in range(3):
        change, state = sgd.update(np.ones(2), state)
        np.testing.assert_array_equal(change, [-0.5, -0.5])
    assert calls == [0, 1, 2]
