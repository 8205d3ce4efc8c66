"""Files are replaced by whole new ones, or stay as they were."""

from pathlib import Path

from jaxmnist.errors import InputError


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, so that no reader and no interruption ever finds half of it.

    Args:
        path: The file; its folder exists.
        content: All of it.

    Raises:
        InputError: It cannot be written; what was there is still there, and nothing else.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except BaseException as error:
        if partial.is_file():
            partial.unlink()
        if isinstance(error, OSError):
            raise InputError(f"cannot write {path}: {error.strerror}") from error
        raise
