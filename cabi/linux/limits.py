"""Lengths (limits.h): a name, a path with the byte that ends it, a page; the highest int."""

from __future__ import annotations

from typing import Final

NAME_MAX: Final = 255
PATH_MAX: Final = 4096
PAGE: Final = 4096
INT_MAX: Final = (1 << 31) - 1
