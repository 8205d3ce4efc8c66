"""The parity table: every row is run, and the page says what came of them."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxmnist import parity
from jaxmnist.parity.table import page
from jaxmnist.parity.table.inputs import compare_functions
from jaxmnist.parity.table.prove import missing, prove
from jaxmnist.parity.table.row import DIFFERS, EQUAL, FLOAT32, Kind, Row
from jaxmnist.parity.table.text import expression

FIGURES = Path(__file__).resolve().parents[2] / "figures"
BASES = ("LRScheduler", "_LRScheduler")
pytest.importorskip("torch")
ALL = [(kind, row) for kind in page.KINDS for row in kind.rows()]
THERE = [(kind, row) for kind, row in ALL if missing(row) is None]


@pytest.fixture(scope="module")
def stored() -> dict[tuple[str, ...], dict]:
    """The rows of `figures/parity.json` by their claims."""
    written = json.loads((FIGURES / "parity.json").read_text())["rows"]
    return {key(row): row for row in written}


def key(claims: dict) -> tuple[str, ...]:
    return tuple(claims[name] for name in ("kind", "torch", "jax", "verdict", "difference"))


def first_of_each(rows):
    """Mark as slow what repeats an earlier row's function with other arguments."""
    seen = set()
    for kind, row in rows:
        function = kind.title, row.texts[0].partition("(")[0]
        marks = [pytest.mark.slow] if function in seen else []
        seen.add(function)
        yield pytest.param(kind, row, marks=marks, id=f"{kind.title}: {row.texts[0]}")


@pytest.mark.parametrize(("kind", "row"), list(first_of_each(THERE)))
def test_row_is_proved_and_the_page_has_its_errors(kind, row, stored):
    proof = prove(kind, row)
    assert not proof.failures, proof.failures[0]
    written = stored[key(page.identity(kind, row))]
    assert_of_one_order(proof.max_error, written["max_error"], row.verdict == EQUAL)
    if proof.equal_error is not None:
        assert_of_one_order(proof.equal_error, written["equal_error"], True)


def assert_of_one_order(found: float, written: float | str, is_rounding: bool) -> None:
    """Compare errors by their order of magnitude; of those by rounding alone only that they are."""
    there = float(written)
    if is_rounding:
        assert max(found, there) < 1  # That they are within the tolerance was asserted by `prove`.
    elif math.isfinite(found) and math.isfinite(there):
        assert abs(math.log10(found / there)) < 1
    else:
        assert found == there


def test_page_has_exactly_the_rows(stored):
    assert list(stored) == [key(page.identity(*each)) for each in ALL]
    assert len(stored) == len(ALL)  # No two rows claim the same of the same.
    for kind, row in ALL:
        claims = page.identity(kind, row)
        written = stored[key(claims)]
        assert {name: written[name] for name in claims} == claims


def test_page_is_that_of_the_json(stored):
    lines = (FIGURES / "parity.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| `")]
    assert len(table) == len(stored)
    for line, written in zip(table, stored.values(), strict=True):
        for text in (written["torch"], written["jax"], written["equal"] or "none"):
            assert text.replace("|", "\\|") in line or written["verdict"] == EQUAL
        assert f"| {written['verdict']} |" in line


def test_there_are_enough_rows_and_all_of_torch_optim():
    import torch

    counts = {kind.title: len(kind.rows()) for kind in page.KINDS}
    assert sum(counts.values()) >= 150
    assert counts["Losses"] + counts["Losses of classes"] >= 25
    assert counts["Layers with parameters"] >= 30
    assert counts["Initializers"] >= 15
    calls = " ".join(row.texts[0] for _, row in ALL)
    classes = [n for n, c in vars(torch.optim).items() if isinstance(c, type) and n != "Optimizer"]
    scheduler = torch.optim.lr_scheduler.LRScheduler
    schedulers = [
        name
        for name, each in vars(torch.optim.lr_scheduler).items()
        if isinstance(each, type) and issubclass(each, scheduler) and name not in BASES
    ]
    assert len(classes) >= 14
    assert len(schedulers) >= 14
    assert [n for n in classes if f"optim.{n}(" not in calls] == []
    assert [n for n in schedulers if f"L.{n}(" not in calls] == []


def test_rows_that_differ_say_how():
    for _, row in ALL:
        if row.verdict != EQUAL:
            assert row.difference, row.texts
        assert row.verdict in (EQUAL, DIFFERS, FLOAT32) or row.step is not None
        assert row.equal is None or row.verdict != EQUAL


# ------------------------------------------------------------------------------- false claims


def kind_of(row: Row) -> Kind:
    return Kind("claims", lambda: [row], compare_functions, "of this test")


def claims() -> list[tuple[Row, str]]:
    import torch.nn.functional as F  # noqa: N812

    def row(jax_expression, *args, **options):
        return Row(lambda p, t: F.mse_loss(p, t), jax_expression, *args, **options)

    def squares(p, t):
        return optax.squared_error(p, t).mean()

    def halves(p, t):
        return optax.l2_loss(p, t).mean()

    return [
        (row(halves), "claimed equal"),
        (row(squares, DIFFERS, "x"), "and is equal"),
        (
            row(halves, DIFFERS, "x", squares, "a constant"),
            "claimed cause 'a constant', found",
        ),
        (row(halves, DIFFERS, "x", lambda p, t: halves(p, t) * 1.999), "to be the equal one"),
        (row(halves, FLOAT32, "x"), "claimed equal up to float32, and the error is 5e-01"),
        (row(halves, "equal up to step 3", "x"), "and the first divergence is at 0"),
        (
            row(lambda p, t: p, DIFFERS, "x", cause="a factor"),
            "claimed cause 'a factor', found",
        ),
    ]


@pytest.mark.parametrize(("row", "failure"), claims(), ids=[failure for _, failure in claims()])
def test_false_claim_is_found(row, failure):
    assert any(failure in each for each in prove(kind_of(row), row).failures)


def test_rows_of_drop_ins_that_are_not_there_are_left_out(monkeypatch):
    row = Row(lambda p: p, lambda p: p, DIFFERS, "x", lambda p: parity.nonsense(p))  # pyright: ignore
    assert missing(row) == "nonsense"
    monkeypatch.setattr(parity, "nonsense", print, raising=False)
    assert missing(row) is None


def test_settings_are_restored():
    before = jax.config.read("jax_disable_most_optimizations")
    kind, row = next((kind, row) for kind, row in THERE if kind.title == "Losses")
    prove(kind, row)
    assert jax.config.read("jax_disable_most_optimizations") == before
    with pytest.raises(ValueError, match="rank_promotion"):
        _ = jnp.zeros(2) + jnp.zeros((2, 2))


def test_expression_is_the_source_of_its_own_lambda():
    outer, inner = lambda x: lambda y: y + x, lambda x: x * (2 + x)
    assert expression(outer) == "lambda y: y + x"
    assert expression(outer(1)) == "y + x"
    assert expression(inner) == "x * (2 + x)"
