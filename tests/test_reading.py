"""Reading within bounds: what is refused before it is read, parsed or allocated."""

import os
import socket
from functools import partial

import numpy as np
import pytest

from jaxmnist import InputError, load_dataset
from jaxmnist.data import load_arrays
from jaxmnist.data.catalogue import data_directory
from jaxmnist.data.pictures import read_picture
from jaxmnist.errors import printable
from jaxmnist.interop import load_safetensors
from jaxmnist.reading import check_regular, parse_json, read_bytes, read_json
from jaxmnist.runs.python_file import read_text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 32 deep"),
        ("[" * 33 + "]" * 33, "nested more than 32 deep"),
        ('{"a":' * 33 + "0" + "}" * 33, "nested more than 32 deep"),
        ("9" * 400, "of 400 digits is too large"),
        ("-" + "9" * 400, "of 401 digits is too large"),
        ("9" * 5000, "of 5000 digits is too large"),
        ("1e999", "1e999 is too large"),
        ("NaN", "NaN is not finite"),
        ("[-Infinity]", "-Infinity is not finite"),
        ("", "no JSON"),
        ('{"a": 1', "no JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'"\xed\xb2\x80"', "not UTF-8"),
    ],
)
def test_json_beyond_its_bounds_is_refused(content, words):
    with pytest.raises(ValueError, match=words) as refused:
        parse_json(content)
    assert len(str(refused.value)) < 300


def test_json_within_its_bounds_is_read():
    assert parse_json("[" * 32 + "]" * 32)
    assert parse_json(b'{"x": [1, -2.5e3, null, "\xc3\xa9"]}') == {"x": [1, -2500.0, None, "é"]}
    assert np.isnan(parse_json("[NaN, 1]", finite=False)[0])


def test_large_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "large.json"
    path.touch()
    os.truncate(path, 2**26 + 1)
    with pytest.raises(InputError, match="67,108,865 bytes; at most 67,108,864 are read"):
        read_json(path)
    monkeypatch.setenv("JAXMNIST_MAX_BYTES", "1000")
    with pytest.raises(InputError, match=r"needs 64.0 MiB .* --max-bytes"):
        read_bytes(path)


@pytest.mark.parametrize(
    "read",
    [
        load_dataset,
        load_arrays,
        read_picture,
        load_safetensors,
        partial(read_text, what="a file"),
        read_json,
    ],
)
def test_fifo_is_not_read(tmp_path, read):
    path = tmp_path / ("x.npz" if read in (load_dataset, load_arrays) else "x.py")
    os.mkfifo(path)
    with pytest.raises(InputError, match="a device, a FIFO or a socket; a regular file"):
        read(path)


def test_devices_and_sockets_are_not_regular(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # A socket's name is short.
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        for path in (tmp_path / "s", tmp_path.__class__("/dev/zero")):
            with pytest.raises(InputError, match="a regular file is needed"):
                check_regular(path)


@pytest.mark.parametrize("name", ["~nobody_at_all/x", "~nobody_at_all", "a\0b"])
@pytest.mark.parametrize("read", [load_dataset, load_arrays, data_directory])
def test_names_that_are_no_paths_are_refused(name, read):
    with pytest.raises(InputError, match=r"there is no user|null character"):
        read(name)


def test_message_is_one_line_whatever_a_name_has(tmp_path):
    name = "a\n\x1b[31m\u202e\udcff$x$"
    with pytest.raises(InputError) as refused:
        load_dataset(str(tmp_path / name))
    shown = str(refused.value)
    assert shown.isprintable()
    assert shown.encode()
    assert r"a\n\x1b[31m" in shown or r"a\x0a\x1b[31m\u202e\xff$x$" in shown


def test_printable_leaves_what_can_be_printed():
    text = "η = 0.1, 95\N{NO-BREAK SPACE}%: 漢字"
    assert printable(text) == text
    assert printable("a\tb\u2028c\U000e0001") == r"a\x09b\u2028c\U000e0001"
