"""Hypothesis strategies that damage files: bytes, JSON, archives, and names."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

NAMES: Final = (
    "", ".", "..", "/", "~nobody_at_all", "~nobody_at_all/x.npz", "a\0b", "a\nb\nc", "\x1b[31mred",
    "$x$", "$\\frac{", "\\", "a|b", "a,b;c", "\u202egnp.exe", "\udcff.npz", "\ud800", "x" * 5000,
    "%s%n{}", "--epochs", "/dev/zero", "/dev/stdin", "/proc/self/mem", "tfds:", "tfds:../x",
    "tfds:mnist:9.9.9", "emnist/", "mnist:1", "kmnist\n", "\N{ARABIC-INDIC DIGIT THREE}",
)  # fmt: skip
"""Names and words that are no names of data."""
NUMBERS: Final = (
    "0", "-1", "1", "-0", "2147483647", "2147483648", "4294967296", "9223372036854775807",
    "18446744073709551616", "9" * 400, "-" + "9" * 400, "9" * 5000, "0.5", "1e308", "-1e308",
    "1e309", "1e-400", "NaN", "Infinity", "-Infinity",
)  # fmt: skip
"""Numbers as JSON or a command line may have them."""
_LITERALS: Final = (
    *NUMBERS, "null", "true", "false", '""', "[]", "{}", "[null]", "[[]]", "[[1],[2,3]]",
    '{"":{}}', "[" * 100_000 + "]" * 100_000, '{"a":' * 500 + "1" + "}" * 500,
    json.dumps([0] * 3000), json.dumps({str(n): n for n in range(2000)}),
    *(json.dumps(name) for name in NAMES),
)  # fmt: skip
_MARK: Final = "@the value that is replaced@"


@st.composite
def damaged_bytes(draw: Any, content: bytes) -> bytes:
    """Flip, cut, overwrite, repeat or insert at a few places, or replace all of it."""
    damaged = bytearray(content)
    kind = draw(st.sampled_from(("flip", "flip", "cut", "fill", "repeat", "insert", "all")))
    if kind == "all" or not damaged:
        return draw(st.sampled_from((b"", b"\0", b"\n", b"\xff" * 64, bytes(5000)))) or draw(
            st.binary(max_size=64)
        )
    # Headers are at the beginning, and zip has its directory at the end.
    end = len(damaged) - 1
    places = st.one_of(
        st.integers(0, min(end, 200)), st.integers(0, end), st.integers(max(0, end - 300), end)
    )
    for _ in range(draw(st.integers(1, 4))):
        at = min(draw(places), max(0, len(damaged) - 1))
        size = draw(st.sampled_from((1, 2, 4, 8, 64)))
        if kind == "flip":
            damaged[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            return bytes(damaged[:at])
        elif kind == "fill":
            damaged[at : at + size] = draw(st.sampled_from((b"\0", b"\xff", b"\x7f"))) * size
        elif kind == "repeat":
            damaged[at:at] = damaged[at : at + 10 * size]
        else:
            damaged[at:at] = draw(st.binary(min_size=1, max_size=size))
    return bytes(damaged)


@st.composite
def damaged_json(draw: Any, content: bytes) -> bytes:
    """Replace, remove, rename or exchange values of JSON, or damage its bytes; a line of JSONL."""
    if draw(st.integers(0, 4)) == 0:
        return draw(damaged_bytes(content))
    lines = content.splitlines(keepends=True)
    is_lines = len(lines) > 1 and lines[0].rstrip().endswith(b"}")
    at = draw(st.integers(0, len(lines) - 1)) if is_lines else 0
    root = [json.loads(lines[at] if is_lines else content)]
    for _ in range(draw(st.integers(1, 2))):
        parent, key = _place(draw, root)
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "rename", "swap")))
        if kind == "remove" and parent is not root:
            del parent[key]
        elif kind == "rename" and isinstance(parent, dict):
            parent[draw(st.sampled_from(NAMES))] = parent.pop(key)
        elif kind == "swap":
            other, place = _place(draw, root)
            parent[key], other[place] = other[place], parent[key]
            if _has_circle(root):
                return b"[]"
        else:
            parent[key] = _MARK
    literal = draw(st.sampled_from(_LITERALS))
    text = json.dumps(root[0]).replace(json.dumps(_MARK), literal).encode()
    if not is_lines:
        return text
    return b"".join((*lines[:at], text + b"\n", *lines[at + 1 :]))


def _place(draw: Any, root: list[Any]) -> tuple[Any, Any]:
    """Choose an entry at any depth: its list or object, and its index or name."""
    parent, key = root, 0
    while isinstance(parent[key], dict | list) and parent[key]:
        parent = parent[key]
        keys = list(parent) if isinstance(parent, dict) else range(len(parent))
        key = draw(st.sampled_from(keys))
        if draw(st.integers(0, 2)) == 0:
            break
    return parent, key


def _has_circle(value: Any) -> bool:
    try:
        json.dumps(value)
    except ValueError:
        return True
    return False


_SIZES: Final = st.sampled_from((0, 1, 2, 27, 28, 29, 255, 65_536, 2**31 - 1, 2**31, 2**32 - 1))


@st.composite
def damaged_npz(draw: Any, content: bytes) -> bytes:
    """Write an archive anew with another header, dtype, name or content, its checksums right."""
    if draw(st.booleans()):
        return draw(damaged_bytes(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(list(members)))
    kind = draw(st.sampled_from(("shape", "dtype", "bytes", "name", "bomb", "value")))
    array = np.load(io.BytesIO(members[name]))
    if kind in ("shape", "dtype"):
        shape = array.shape
        if kind == "shape":
            sizes = st.lists(st.one_of(_SIZES, st.just(10**18), st.just(-1)), max_size=4)
            shape = tuple(draw(sizes))
        descr = array.dtype.str
        if kind == "dtype":
            choices = ("|O", "<U5", "<f8", ">i8", "<u8", "|b1", "<M8[s]", "|V0", "<c16", "|S0", "!")
            descr = draw(st.sampled_from(choices))
        header = {"descr": descr, "fortran_order": draw(st.booleans()), "shape": shape}
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, header)
        members[name] = file.getvalue() + array.tobytes()
    elif kind == "bytes":
        members[name] = draw(damaged_bytes(members[name]))
    elif kind == "name":
        members[draw(st.sampled_from(("x.npy", "../x.npy", "y_train.npy", "a\n.npy")))] = b""
        del members[name]
    elif kind == "bomb":
        members[name] += bytes(10**7)
    else:
        other = draw(st.sampled_from((-1, 2**31 - 2, 2**31 - 1, 2**63 - 1, 1e300, np.nan, 1j)))
        file = io.BytesIO()
        np.save(file, np.full(array.shape, other))
        members[name] = file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


@st.composite
def damaged_idx(draw: Any, content: bytes) -> bytes:
    """Give an IDX file other sizes, or damage its bytes, packed again or not."""
    plain = gzip.decompress(content)
    kind = draw(st.sampled_from(("sizes", "bytes", "packed bytes", "bomb")))
    if kind == "packed bytes":
        return draw(damaged_bytes(content))
    if kind == "sizes":
        sizes = [draw(_SIZES) for _ in range(plain[3])]
        plain = plain[:4] + struct.pack(f">{len(sizes)}I", *sizes) + plain[4 + 4 * len(sizes) :]
    elif kind == "bytes":
        plain = draw(damaged_bytes(plain))
    else:
        plain += bytes(10**7)
    return gzip.compress(plain, 1) if draw(st.booleans()) else plain


@st.composite
def damaged_picture(draw: Any, content: bytes) -> bytes:
    """Damage a picture's bytes, or the sizes in a PNG's header, its checksum right."""
    if not content.startswith(b"\x89PNG") or draw(st.booleans()):
        return draw(damaged_bytes(content))
    header = struct.pack(">II", draw(_SIZES), draw(_SIZES)) + bytes(
        [
            draw(st.sampled_from((1, 8, 16, 7))),
            draw(st.sampled_from((0, 2, 3, 4, 6, 5))),
            0,
            0,
            draw(st.integers(0, 1)),
        ]
    )
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return content[:16] + header + checksum + content[33:]
