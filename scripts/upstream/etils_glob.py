"""etils' `Path.glob`, which Orbax uses, takes brackets in the folder's own name for a pattern."""

import tempfile

from etils import epath

folder = epath.Path(tempfile.mkdtemp()) / "run [1]"
folder.mkdir()
(folder / "file").touch()
found = len(list(folder.glob("*")))
print(f"files in 'run [1]': is {found}; should be 1, as of pathlib.Path.glob")
raise SystemExit(int(found == 1))
