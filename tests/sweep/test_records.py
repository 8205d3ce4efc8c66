"""A line of a sweep's cells is checked as it is parsed."""

import json

import numpy as np
import pytest

from jaxmnist.sweep.records import parse_cell
from jaxmnist.training import History

CELL = {
    "cell": 1,
    "dtype": "float32",
    "history": {name: [0.5, None] for name in History._fields},
}


def test_line_of_a_run_is_its_history():
    index, history = parse_cell(json.dumps(CELL).encode(), 2, 2)
    assert index == 1
    assert isinstance(history, History)
    np.testing.assert_array_equal(history.eval_loss, np.array([0.5, np.nan], np.float32))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cell": 2}, "from 0 to 1"),
        ({"cell": -1}, "from 0 to 1"),
        ({"cell": 1.0}, "a whole number"),
        ({"cell": True}, "a whole number"),
        ({"dtype": "object"}, "float32 or float64"),
        ({"dtype": "<M8[s]"}, "float32 or float64"),
        ({"history": {}}, "history"),
        ({"history": {"eval_loss": [1, 2]}}, "history must be of train_loss"),
        ({"history": {"eval_loss": [1, 2]}, "task": True}, "has no train_loss"),
        ({"history": {**CELL["history"], "eval_loss": [1]}}, "it must have 2"),
        ({"history": {**CELL["history"], "eval_loss": [1, "2"]}}, "must be a number"),
        ({"history": {**CELL["history"], "eval_loss": [1, [2]]}}, "must be a number"),
    ],
    ids=str,
)
def test_line_of_another_form_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        parse_cell(json.dumps({**CELL, **change}).encode(), 2, 2)
