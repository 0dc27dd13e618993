"""Bytes as an open file, for parsers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from stromboli.inspection.openfile import OpenFile


@contextmanager
def opened(data: bytes) -> Iterator[OpenFile]:
    descriptor = os.memfd_create("test")
    try:
        os.write(descriptor, data)
        yield OpenFile(descriptor, len(data))
    finally:
        os.close(descriptor)
