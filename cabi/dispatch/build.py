"""The cffi builder of the dispatcher; setuptools runs it, pysc never imports it."""

from pathlib import Path

from cffi import FFI

CABI = Path("src/pysc/cabi")  # relative to setup.py: setuptools rejects absolute sources
DISPATCH = CABI / "dispatch"
CHANNEL = CABI / "channel"
SHIM = CABI / "shim"

ffibuilder = FFI()
HEADERS = [CHANNEL / "channel.h", DISPATCH / "objects.h", DISPATCH / "dispatch.h"]
ffibuilder.cdef("".join(path.read_text() for path in HEADERS))
ffibuilder.set_source(
    "pysc.cabi._dispatch",
    '#include <stdint.h>\n#include "channel.h"\n#include "objects.h"\n#include "dispatch.h"',
    sources=sorted(str(path) for path in [*DISPATCH.glob("*.c"), SHIM / "attributes.c"]),
    depends=sorted(str(path) for path in [*DISPATCH.glob("*.h"), *CHANNEL.glob("*.h"), *SHIM.glob("*.h")]),
    include_dirs=[str(DISPATCH), str(CHANNEL), str(SHIM)],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"],
    py_limited_api=True,
)
