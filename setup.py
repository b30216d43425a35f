"""setup.py: the two build steps that pyproject.toml cannot declare."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build

CABI = Path("src/pysc/cabi")
GUEST = CABI / "guest"
GUEST_FLAGS = [  # with a build ID that tells compilers apart, not the directories that they ran in
    "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
    "-ffreestanding", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-mcmodel=small",
    "-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-mgeneral-regs-only",
    "-fno-plt", "-fno-strict-aliasing", "-fno-builtin", "-fno-tree-loop-distribute-patterns",
    "-Wl,--build-id=sha1", "-Wl,-z,noexecstack", f"-ffile-prefix-map={os.getcwd()}=.",
]  # fmt: skip


class BuildGuest(Command):
    """Link cabi/guest into pysc/cabi/guest.elf; the protocol is setuptools' SubCommand."""

    user_options: ClassVar[list[tuple[str, str | None, str]]] = [
        ("inplace", "i", "put guest.elf into the source tree"),
    ]
    boolean_options: ClassVar[list[str]] = ["inplace"]
    editable_mode = False  # set by an editable install, which then wants the file in the tree

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.inplace = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        output = CABI / "guest.elf" if self.editable_mode or self.inplace else Path(self.get_outputs()[0])
        output.parent.mkdir(parents=True, exist_ok=True)
        sources = sorted([*GUEST.glob("*.c"), *GUEST.glob("*.S")])
        include = [f"-I{CABI / 'channel'}", f"-I{GUEST}"]
        script = f"-Wl,-T,{GUEST / 'guest.ld'}"
        command = [os.environ.get("CC", "cc"), *GUEST_FLAGS, *include, script, "-o", output, *sources]
        subprocess.run(command, check=True)

    def get_source_files(self) -> list[str]:
        return sorted(str(path) for path in [*GUEST.iterdir(), *(CABI / "channel").iterdir()])

    def get_outputs(self) -> list[str]:
        return [f"{self.build_lib}/pysc/cabi/guest.elf"]

    def get_output_mapping(self) -> dict[str, str]:
        return {self.get_outputs()[0]: str(CABI / "guest.elf")} if self.editable_mode else {}


class Build(build):
    sub_commands: ClassVar = [*build.sub_commands, ("build_guest", None)]


setup(
    cffi_modules=[f"{CABI}/build.py:{module}" for module in ("dispatch", "shim")],
    cmdclass={"build": Build, "build_guest": BuildGuest},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
