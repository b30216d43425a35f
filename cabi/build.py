"""The cffi builders of both extension modules; setuptools runs them, pysc never imports them."""

import hashlib
from pathlib import Path

from cffi import FFI

CABI = Path("src/pysc/cabi")  # relative to setup.py: setuptools rejects absolute sources
CHANNEL, DISPATCH, SHIM = CABI / "channel", CABI / "dispatch", CABI / "shim"
COMPONENTS = ("cabi", "gofer", "netstackd", "sentry", "supervisor", "urpc")

COMPILE = (
    "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror",
    "-fstack-protector-strong", "-fstack-clash-protection", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2",
)  # fmt: skip
LINK = ("-Wl,-z,relro,-z,now,-z,noexecstack",)


def build_id() -> str:
    """Return a digest of all that is installed."""
    digest = hashlib.sha256()
    for component in COMPONENTS:
        root = Path("src/pysc") / component
        for path in sorted(path for kind in ("py", "c", "h", "S", "ld") for path in root.rglob(f"*.{kind}")):
            if not path.name.startswith(("_dispatch.", "_shim.")):  # what cffi makes
                digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def builder(module: str, declarations: list[Path], includes: list[Path], sources: list[Path], **macros: str) -> FFI:
    """Return the builder of an extension module that shows Python what ``declarations`` declare."""
    ffi = FFI()
    for path in declarations:
        ffi.cdef(path.read_text())
    ffi.set_source(
        f"pysc.cabi.{module}",
        "#include <stdint.h>\n" + "".join(f'#include "{path.name}"\n' for path in declarations),
        sources=sorted(map(str, sources)),
        depends=sorted(str(path) for folder in includes for path in folder.glob("*.h")),
        include_dirs=[str(folder) for folder in includes],
        extra_compile_args=list(COMPILE),
        extra_link_args=list(LINK),
        define_macros=list(macros.items()),
    )
    return ffi


dispatch = builder(
    "_dispatch",
    [CHANNEL / "channel.h", DISPATCH / "objects.h", DISPATCH / "dispatch.h"],
    [DISPATCH, CHANNEL, SHIM],
    [*DISPATCH.glob("*.c"), SHIM / "attributes.c"],
)
shim = builder(
    "_shim",
    sorted(SHIM.glob("*.cdef.h")),
    [SHIM],
    list(SHIM.glob("*.c")),
    PYSC_BUILD_ID=f'"{build_id()}"',
)
