"""The cffi builder of ``pysc.cabi._shim``: single host calls; setuptools runs it, pysc never imports it."""

import hashlib
from pathlib import Path

from cffi import FFI

SHIM = Path("src/pysc/cabi/shim")  # relative to setup.py: setuptools rejects absolute sources

COMPONENTS = ("cabi", "gofer", "netstackd", "sentry", "supervisor", "urpc")


def build_id() -> str:
    """Return a digest of all that is installed."""
    digest = hashlib.sha256()
    for component in COMPONENTS:
        root = Path("src/pysc") / component
        for path in sorted(path for kind in ("py", "c", "h", "S", "ld") for path in root.rglob(f"*.{kind}")):
            if not path.name.startswith(("_dispatch.", "_shim.")):  # what cffi makes
                digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


ffibuilder = FFI()
headers = sorted(SHIM.glob("*.cdef.h"))
for header in headers:
    ffibuilder.cdef(header.read_text())
ffibuilder.set_source(
    "pysc.cabi._shim",
    "#include <stdint.h>\n" + "".join(f'#include "{header.name}"\n' for header in headers),
    sources=sorted(str(path) for path in SHIM.glob("*.c")),
    depends=sorted(str(path) for path in SHIM.glob("*.h")),
    include_dirs=[str(SHIM)],
    define_macros=[("PYSC_BUILD_ID", f'"{build_id()}"')],
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"],
)
