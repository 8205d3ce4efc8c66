import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PYTHON = "\n".join(text for language, text in BLOCKS if language == "python")
SHELL = [text for language, text in BLOCKS if language == "sh"]


def is_setup(block: str) -> bool:
    """Set-up makes a virtual environment, so `.ci/run` runs it and not a test."""
    return ".venv/bin/pip" in block


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_block_is_run_by_someone():
    assert {language for language, _ in BLOCKS} == {"python", "sh"}
    assert sorted(is_setup(block) for block in SHELL) == [False, True, True]


# The first snippet's accuracies from the weights that it returned, another way.
AGAIN = """
for row, printed in enumerate(history.eval_accuracy[:, -1]):
    trained = jax.tree.map(lambda leaf: leaf[row], state.params)
    logits = jm.MLP().apply(trained, jm.normalize(jnp.asarray(mnist.test_images)))
    hits = (logits.argmax(-1) == jnp.asarray(mnist.test_labels)) * 1.0
    again = sum(hits[k : k + 128].mean() for k in range(0, 10_000, 128)) / 79
    print("row", printed, again)
print("losses", *history.eval_loss[:, -1])
"""


@pytest.mark.slow
def test_python_snippets_run_one_after_the_other(torch, tmp_path):
    """What each row reaches after an epoch depends on rounding, so it is no number to compare with.

    The accuracies are compared with those of the weights that came with them, in the same process:
    at most two images, whose logits are within rounding of each other, may change sides. That it
    learns at all is asked of the lowest rate alone, which is stable: a loss below log 10, that of
    a network that gives every class the same probability.
    """
    output = run([sys.executable, "-c", PYTHON + AGAIN], tmp_path)
    rows = [
        [float(number) for number in line]
        for line in re.findall(r"^row (\S+) (\S+)$", output, flags=re.MULTILINE)
    ]
    assert len(rows) == 3
    shown = [float(x) for x in re.findall(r"0\.\d+", output)[:3]]
    for (printed, again), number in zip(rows, shown, strict=True):
        assert abs(number - printed) < 1e-6
        assert abs(printed - again) <= 2 / (128 * 79)
    losses = [float(x) for x in re.findall(r"^losses (.*)$", output, flags=re.MULTILINE)[0].split()]
    assert losses[0] < math.log(10)
    assert len(set(losses)) == 3
    assert "They differ by epsilon's place: inside the root here, outside the root in" in output


@pytest.mark.slow
def test_commands_run_one_after_the_other(tmp_path):
    (commands,) = (block for block in SHELL if not is_setup(block))
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")  # They are typed in a clone.
    output = run(["sh", "-eu", "-c", commands], tmp_path)
    assert "epoch: 1, Train Loss: 0." in output
    assert (tmp_path / "runs/adam/curves.png").exists()
    assert (tmp_path / "digits.png").exists()
    assert (tmp_path / "verify.json").exists()
    assert (tmp_path / "runs/adam/model.stablehlo").exists()
    assert (tmp_path / "runs/pendulum/task.py").exists()
    assert (tmp_path / "runs/rates/results.csv").exists()


def test_ci_runs_the_set_up_blocks():
    patterns = re.findall(r"grep -m1 ['\"](.+?)['\"] README", (ROOT / ".ci/run").read_text())
    assert len(patterns) == 2
    blocks = [block for block in SHELL if is_setup(block)]
    for block, pattern in zip(blocks, patterns, strict=True):
        assert re.match(pattern, block)
        assert block.count("\n") == 1


def test_linked_files_exist():
    for page in ("README.md", "figures/measurements.md", "figures/commands.md"):
        text, folder = (ROOT / page).read_text(), (ROOT / page).parent
        links = re.findall(r"\]\(([^)#:]*)(#[^)]*)?\)", text)
        assert links
        for link, anchor in links:
            target = folder / link if link else ROOT / page
            assert target.exists(), (page, link)
            assert not anchor or anchor in anchors(target), (page, link, anchor)


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def test_readme_is_short_enough_to_be_read():
    assert len(README.split()) <= 1500
