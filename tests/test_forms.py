"""Forms: what parsed JSON must be like, and how what is not is refused."""

import pytest

from jaxmnist.forms import MAX_ENTRIES, Among, Each, Numbers, check_form

FORM = {
    "name": str,
    "kind": Among(("sgd", "adam")),
    "x": Numbers("n"),
    "paths": Numbers("n 2", none=True),
    "count": Numbers(least=0, most=9, whole=True),
    "curves": Each(Numbers("epochs")),
    "walks": [{"loss": Numbers("points")}],
}
SOUND = {
    "name": "a",
    "kind": "sgd",
    "x": [1, 2.5],
    "paths": [[1, None], [2, 3]],
    "count": 9,
    "curves": {"a": [1.0], "b": [1, 2]},
    "walks": [{"loss": [1]}, {"loss": [1, 2]}],
    "more": {},
}


def test_sound_value_is_taken():
    check_form(SOUND, FORM)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": 1}, "it.name is 1; it must be a string"),
        ({"kind": ["sgd"]}, "it.kind is a list of 1; it must be sgd or adam"),
        ({"x": [1, 2, 3]}, "it.paths has 2 entries along n; it must have 3"),
        ({"x": []}, "numbers"),
        ({"x": 3}, "it.x is 3; it must be numbers"),
        ({"x": [1, "2"]}, "it.x has '2'; it must be a number"),
        ({"x": [1, True]}, "it.x has True"),
        ({"x": [1, None]}, "it.x has null"),
        ({"paths": [[1, 2], [3]]}, "it.paths has 1 entries along 2"),
        ({"paths": [[1, 2], 3]}, "it.paths is a list of 2"),
        ({"count": 10}, "it.count has 10; it must be a whole number from 0 to 9"),
        ({"count": 1.0}, "it.count has 1.0"),
        ({"count": None}, "it.count has null"),
        ({"curves": {}}, "it.curves is an object of 0"),
        ({"curves": [[1.0]]}, "it.curves is a list of 1"),
        ({"walks": []}, "it.walks is a list of 0"),
        ({"walks": [{"loss": [1]}] * (MAX_ENTRIES + 1)}, "at most 1000 entries"),
        ({"walks": [{}]}, r"it.walks\[0\]"),
        ({"walks": [{"l": 1}]}, r"it.walks\[0\] has no loss"),
    ],
)
def test_other_form_is_refused_with_its_place(change, words):
    with pytest.raises(ValueError, match=words):
        check_form({**SOUND, **change}, FORM)
