"""What holds for all tests of this folder: the garbage collector leaves alone what stays until the end.

Modules and tests are a quarter of a million objects; to look through them again and again takes a worker 2 s in 25.
"""

from __future__ import annotations

import gc

gc.disable()  # until all is collected


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
