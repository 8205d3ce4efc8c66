"""Pages as files: what is joined into them, and what data may stand in them."""

import json
import re
from pathlib import Path

import pytest

from jaxmnist.plots import style
from jaxmnist.report.template import TEMPLATES, as_json, check_out, joined, page

MODULES = sorted(TEMPLATES.rglob("*.js"))
NASTY = ["</script>", "<!--", "]]>", "a&b", "\u2028\u2029", "$title ${x} $$", "é\ud800", "\x00\n"]


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_json_in_a_page_is_the_data_and_ends_nothing(text):
    written = as_json({text: [text]})
    assert json.loads(written) == {text: [text]}
    assert written.isascii()
    assert not re.search(r"[<>&]", written)


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_title_of_a_page_is_text(text):
    html = page("race", text, {"x": text})
    (title,) = re.findall("<title>(.*?)</title>", html)
    assert not re.search(r"[<>\n]", title)
    assert html.count("<script") == html.count("</script>") == 2
    html.encode()


def test_joined_modules_come_once_and_after_what_they_import(tmp_path):
    (tmp_path / "a.js").write_text(
        'import { b } from "./b.js";\nimport { c } from "./c.js";\nb(c);\n'
    )
    (tmp_path / "b.js").write_text('import { c } from "./c.js";\nexport function b() {}\n')
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    assert joined(tmp_path / "a.js") == "const c = 1;\n\nfunction b() {}\n\nb(c);\n"


@pytest.mark.parametrize("entry", ["report/report.js", "race/race.js"])
def test_joined_page_has_no_import_left_and_ends_no_element(entry):
    text = joined(TEMPLATES / entry)
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    assert "</script" not in text.lower()
    assert "innerHTML" not in text


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_script_says_what_it_is_for_and_is_short(path):
    text = path.read_text()
    assert text.startswith("// ")
    assert len(text.splitlines()) <= 350


def test_pages_have_the_colours_of_the_pictures():
    text = (TEMPLATES / "shared/base.css").read_text()
    for theme in ("light", "dark"):
        with style.theme(theme):
            for color in (style.background(), style.ink(), style.muted()):
                assert color in text
    assert style.BLUE in text
    assert style.VERMILION in text


def test_file_that_cannot_be_written_is_refused(tmp_path, refused):
    (tmp_path / "folder.html").mkdir()
    for name in ("x.txt", "none/x.html", "folder.html", "x" * 300 + "/y.html"):
        with refused("cannot write", name[:20]):
            check_out(tmp_path / name)
    check_out(Path(tmp_path / "x.HTML"))
