"""A message is one line of bounded length, whatever a file holds."""

import pytest

from jaxmnist import sweep
from jaxmnist.errors import LONGEST, InputError


def test_a_huge_value_leaves_the_start_and_the_end_of_the_message() -> None:
    message = str(InputError(f"hidden is {'x' * 50_000}\x1b; give whole numbers of at least 1"))
    assert len(message) == LONGEST
    assert message.startswith("hidden is xxx")
    assert message.endswith("x\\x1b; give whole numbers of at least 1")
    assert message.isprintable()


def test_a_short_message_is_whole() -> None:
    assert str(InputError("n is 0; give 1")) == "n is 0; give 1"


def test_a_long_option_is_refused_in_a_short_line() -> None:
    with pytest.raises(InputError) as caught:
        sweep.parse("hidden", "x" * 100_000)
    assert len(str(caught.value)) <= LONGEST
