"""The cffi builder of ``pysc.cabi._shim``: single host calls; setuptools runs it, pysc never imports it."""

from pathlib import Path

from cffi import FFI

SHIM = Path("src/pysc/cabi/shim")  # relative to setup.py: setuptools rejects absolute sources

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
    extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"],
)
