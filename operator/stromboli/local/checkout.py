"""Files of the project that lie beside the package, in the checkout that it was installed from."""

from __future__ import annotations

from pathlib import Path

import stromboli
from stromboli.errors import LocalFailure


def folder(name: str) -> Path:
    """`crds`, `examples/hello`, … Raises LocalFailure if the package was installed without its checkout."""
    assert stromboli.__file__ is not None
    root = Path(stromboli.__file__).parents[2]
    if not (path := root / name).is_dir():
        raise LocalFailure(f"{path} does not exist", "run `make demo` (or .venv/bin/stromboli) in a checkout")
    return path
