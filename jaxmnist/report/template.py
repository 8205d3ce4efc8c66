"""One self-contained HTML file from a template, its styles, its JavaScript modules and its data."""

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

from jaxmnist.atomic import check_writable
from jaxmnist.errors import InputError, printable

TEMPLATES: Final = Path(__file__).with_name("templates")
_IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)


def page(name: str, title: str, data: Mapping[str, Any]) -> str:
    """Return a page.

    Args:
        name: Of the template's folder.
        title: Of the page, any text.
        data: What its JavaScript reads: what JSON can hold.

    Returns:
        The HTML, in which nothing of the title or the data can end an element or begin one.
    """
    folder = TEMPLATES / name
    styles = (TEMPLATES / "shared" / "base.css", folder / f"{name}.css")
    return Template((TEMPLATES / "shared" / "page.html").read_text("utf-8")).substitute(
        body=(folder / f"{name}.html").read_text("utf-8"),
        title=html.escape(printable(title)),
        style="\n".join(path.read_text("utf-8") for path in styles),
        data=as_json(data),
        script=joined(folder / f"{name}.js"),
    )


def as_json(data: Mapping[str, Any]) -> str:
    r"""Write data as JSON that may stand in a script element.

    Args:
        data: What JSON can hold; no NaN, no infinity.

    Returns:
        ASCII, with escapes in place of what HTML gives a meaning to.

    >>> print(as_json({"name": "</script>\u2028&"}))
    {"name":"\u003c/script\u003e\u2028\u0026"}
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def joined(entry: Path) -> str:
    """Join a JavaScript module and all that it imports into one.

    Each module comes after those that it imports, once. Since all of them share one scope, a name
    at the top of one may be at the top of no other.

    Args:
        entry: The module; imports are written ``import { a, b } from "./file.js";``.

    Returns:
        The text of one module without imports and exports.
    """
    texts: dict[Path, str] = {}

    def add(path: Path) -> None:
        if path in texts:
            return
        texts[path] = ""  # Two modules may import one another.
        text = path.read_text("utf-8")
        for _, source in _IMPORT.findall(text):
            add((path.parent / source).resolve())
        body = re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)
        texts[path] = texts.pop(path) + body  # After what it imports.

    add(entry.resolve())
    return "\n".join(texts.values())


def check_out(path: Path) -> None:
    """Refuse a file that a page could not be written to.

    Args:
        path: The file.

    Raises:
        InputError: Its ending is not .html, its folder is none, or it is a folder itself.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"cannot write {path}: a page is written as .html")
    check_writable(path)
