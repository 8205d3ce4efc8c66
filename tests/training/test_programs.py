"""Programs that are compiled beside what Python does: what waits for them, and for which."""

import re
import threading
from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

import jaxmnist as jm
from jaxmnist.training import epoch_order, in_memory, programs, streaming
from jaxmnist.training.programs import compiler


def test_shapes_are_there_before_the_program_is():
    go = threading.Event()
    program = compiler()(SimpleNamespace(out_info="shapes", compile=lambda: go.wait(60)))
    assert program.out_info == "shapes"
    go.set()
    assert program.wait() is True


def test_what_compiling_raises_is_raised_where_it_is_waited_for():
    def compile():
        raise RuntimeError("no memory")

    program = compiler()(SimpleNamespace(out_info=None, compile=compile))
    with pytest.raises(RuntimeError, match="no memory"):
        program.wait()


@pytest.mark.slow_except("False")
@pytest.mark.parametrize("x64", [False, True])
def test_an_order_is_compiled_once_whoever_asks_first(x64, monkeypatch, caplog):
    begun = []

    def counting():
        compiled = compiler()
        return lambda lowered: begun.append(lowered) or compiled(lowered)

    monkeypatch.setattr(programs, "compiler", counting)
    with jax.enable_x64(x64):
        early = programs.compiled_order(jax.random.key(0), 13)
        key = jax.random.key(5)
        assert programs.compiled_order(key, 13) is early
        early.wait()
        with jax.log_compiles():
            order, _ = programs.shuffled(key, 2, 13)
            assert "shuffled" not in caplog.text
            programs.shuffled(key, 2, 14)
            assert "shuffled" in caplog.text
    assert len(begun) == 1
    np.testing.assert_array_equal(order, epoch_order(key, 2, 13))


def test_an_order_that_could_not_be_compiled_is_tried_again(monkeypatch):
    def failing():
        raise MemoryError

    def failing_compiler():
        return lambda lowered: programs.Compiled(lowered.out_info, failing)

    monkeypatch.setattr(programs, "compiler", failing_compiler)
    with pytest.raises(MemoryError):
        programs.compiled_order(jax.random.key(0), 17).wait()
    monkeypatch.undo()
    programs.compiled_order(jax.random.key(0), 17).wait()


@pytest.mark.parametrize(
    ("where", "stored", "before"),
    [
        (in_memory, False, (("start", "train"), "evaluate")),
        (streaming, True, (("train_piece",), "eval_piece")),
    ],
)
def test_the_first_steps_do_not_wait_for_the_evaluation(where, stored, before, monkeypatch):
    happened = []

    def recording():
        compiled = compiler()

        def begin(lowered):
            program = compiled(lowered)
            (name,) = re.findall(r"module @jit_+(\w+)", lowered.as_text())
            return program._replace(wait=lambda: (happened.append(name), program.wait()))

        return begin

    monkeypatch.setattr(where, "compiler", recording)
    x = np.linspace(-1, 1, 10, dtype=np.float32)[:, None]
    data = ((x, 2 * x[:, 0]), (x, 2 * x[:, 0]))
    model = (lambda key: np.zeros(1, np.float32), lambda w, x: x @ w)
    task = jm.task(model, optax.sgd(0.1), lambda outputs, y: (outputs - y) ** 2)
    jm.fit(
        task,
        jm.data.stored_arrays(*data) if stored else data,
        epochs=2,
        batch_size=4,
        on_compiled=lambda: happened.append("on_compiled"),
        on_epoch=lambda *_: happened.append("on_epoch"),
    )
    steps, evaluation = before
    assert happened == [*steps, "on_compiled", *[evaluation, "on_epoch"] * 2]
