"""What cffi builds from cabi/shim; the C headers there are the truth."""

from typing import Any

ffi: Any
lib: Any
