"""Lengths (limits.h): a name, a path with the byte that ends it, a page."""

from __future__ import annotations

from typing import Final

NAME_MAX: Final = 255
PATH_MAX: Final = 4096
PAGE: Final = 4096
