"""What a file under the name of data may be instead: a web page, a Git LFS pointer, or empty."""

_HOW_TO_FETCH = "download the file itself again"


def mistaken_file(content: bytes) -> str:
    """Name the usual mistake that a file's content shows, and what to do about it.

    Args:
        content: The file's bytes, or its first thousand.

    Returns:
        Words to follow the path and a colon in an error message, or "" where it is none of these.

    >>> mistaken_file(b"")
    'is empty; download the file itself again'
    >>> mistaken_file(b"<!DOCTYPE html><title>404</title>").split(";")[0]
    'is a web page (HTML), saved under the name of data'
    >>> mistaken_file(b"PK")
    ''
    """
    if not content:
        return f"is empty; {_HOW_TO_FETCH}"
    beginning = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if beginning.startswith(b"version https://git-lfs.github.com/spec/"):
        return "is a Git LFS pointer, not the file that it stands for; run: git lfs pull"
    page = beginning.startswith((b"<!doctype html", b"<html", b"<head", b"<!--"))
    if page or (beginning.startswith(b"<?xml") and b"<html" in beginning):
        return f"is a web page (HTML), saved under the name of data; {_HOW_TO_FETCH}"
    if beginning.startswith((b"<?xml", b"<error")):
        return f"is a server's answer (XML), saved under the name of data; {_HOW_TO_FETCH}"
    return ""
