"""List the public names with the first lines of their docstrings, in figures/api.md.

    python scripts/api_index.py

A name is public if a module defines it without an underscore or, in a package, if its
`__init__.py` imports it as itself (`from ... import X as X`). Nothing is imported but to be read.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jaxmnist as jm

PAGE = Path(__file__).resolve().parent.parent / "figures/api.md"
# Programs, and what only the other modules need.
LEFT_OUT = {"__main__", "atomic", "cli", "signals"}
HEAD = """# Public names

Every public name with the first line of its docstring. `import jaxmnist as jm` offers those of the
first list directly; a module is imported when it is first used.

Made by `python scripts/api_index.py`.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


def page() -> str:
    """Return the index as Markdown, modules and names in alphabetical order."""
    modules = [
        importlib.import_module(f"{jm.__name__}.{found.name}")
        for found in pkgutil.iter_modules(jm.__path__)
        if found.name not in LEFT_OUT
    ]
    homes = vars(jm)["_HOMES"]
    parts = [HEAD, section("jm", "", {name: getattr(jm, name) for name in sorted(homes)})]
    for module in sorted(modules, key=lambda module: module.__name__):
        names = {name: getattr(module, name) for name in sorted(set(public_names(module)))}
        title = f"jm.{module.__name__.removeprefix(f'{jm.__name__}.')}"
        parts.append(section(title, first_line(module), names))
    return "\n".join(parts)


def public_names(module: ModuleType) -> Iterator[str]:
    """Yield the names that a module defines, or that a package offers."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)


def section(title: str, about: str, names: dict[str, object]) -> str:
    """Return one module's list."""
    lines = [f"- `{title}.{name}`{_about(value)}" for name, value in names.items()]
    head = [f"## `{title}`", *([about] if about else []), "\n".join(lines)]
    return "\n\n".join(part for part in head if part) + "\n"


def _about(value: object) -> str:
    described = inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)
    return f": {first_line(value)}" if described else ""


def first_line(value: object) -> str:
    """Return the first line of a docstring, or nothing where there is none."""
    return (inspect.getdoc(value) or "").partition("\n")[0].strip()


if __name__ == "__main__":
    main()
