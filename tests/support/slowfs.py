"""A file system that takes its time: ``slowfs.py DIRECTORY OPERATION=SECONDS ... -- COMMAND`` runs who sees it.

It is mounted in a mount namespace of its own, which goes with the command.  FUSE is spoken by hand (linux/fuse.h); each
answer waits by itself, in a thread.  There is one directory with the files ``a`` to ``d``, of sixteen blocks each, a
block of 4096 times its number; they can be written to.  With ``--below=DIRECTORY`` there is an overlay of it, too: a
file system that does not look like what it is.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import tempfile
import threading

from pysc.cabi import confine
from pysc.cabi.linux.mount import MS_PRIVATE, MS_REC
from pysc.cabi.linux.sched import CLONE_NEWNS

BLOCK = 4096
NAMES = ("a", "b", "c", "d")
ROOT = 1
OPERATIONS = {
    1: "lookup", 3: "getattr", 4: "setattr", 14: "open", 15: "read", 16: "write", 17: "statfs", 18: "release",
    20: "fsync", 25: "flush", 26: "init", 27: "opendir", 28: "readdir", 29: "releasedir",
}  # fmt: skip
UNANSWERED = (2, 36, 42)  # FORGET, INTERRUPT, BATCH_FORGET
IN_HEADER = struct.Struct("=IIQQIIII")
OUT_HEADER = struct.Struct("=IiQ")
ATTRIBUTES = struct.Struct("=6Q10I")


class SlowFs:
    """Serves a descriptor of /dev/fuse."""

    def __init__(self, fd: int, delays: dict[str, float]) -> None:
        self._fd = fd
        self._delays = delays
        content = b"".join(bytes([number]) * BLOCK for number in range(16))
        self._files = [bytearray(content) for _name in NAMES]

    def serve(self) -> None:
        """Answer until it is unmounted."""
        while True:
            try:
                request = os.read(self._fd, 1 << 18)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            length, opcode, unique, node, *_who = IN_HEADER.unpack_from(request)
            if opcode in UNANSWERED:
                continue
            name = OPERATIONS.get(opcode, "")
            try:
                answer, failed = getattr(self, f"on_{name}")(node, request[IN_HEADER.size : length]), 0
            except (AttributeError, OSError) as error:
                answer, failed = b"", getattr(error, "errno", None) or errno.ENOSYS
            reply = OUT_HEADER.pack(OUT_HEADER.size + len(answer), -failed, unique) + answer
            delay = self._delays.get(name, 0)
            if delay:
                timer = threading.Timer(delay, self._reply, (reply,))
                timer.daemon = True
                timer.start()
            else:
                self._reply(reply)

    def _reply(self, reply: bytes) -> None:
        try:
            os.write(self._fd, reply)
        except OSError:
            pass  # it has been interrupted

    def _attributes(self, node: int) -> bytes:
        size = 0 if node == ROOT else len(self._files[node - 2])
        mode = 0o40755 if node == ROOT else 0o100666
        return ATTRIBUTES.pack(
            node, size, size // 512, 1, 1, 1, 0, 0, 0, mode, 2 if node == ROOT else 1, 0, 0, 0, BLOCK, 0
        )

    def on_init(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("=4I2H2I2H2I6I", 7, 31, 1 << 17, 0, 12, 10, 1 << 17, 1, 32, 0, 0, 0, *[0] * 6)

    def on_lookup(self, _node: int, body: bytes) -> bytes:
        name = body.rstrip(b"\0").decode()
        if name not in NAMES:
            raise OSError(errno.ENOENT, name)
        node = NAMES.index(name) + 2
        return struct.pack("=4Q2I", node, 1, 0, 0, 0, 0) + self._attributes(node)

    def on_getattr(self, node: int, _body: bytes) -> bytes:
        return struct.pack("=Q2I", 0, 0, 0) + self._attributes(node)

    on_setattr = on_getattr

    def on_open(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("=Q2I", 0, 0, 0)

    on_opendir = on_open

    def on_read(self, node: int, body: bytes) -> bytes:
        _handle, offset, size = struct.unpack_from("=QQI", body)
        return bytes(self._files[node - 2][offset : offset + size])

    def on_write(self, node: int, body: bytes) -> bytes:
        _handle, offset, size = struct.unpack_from("=QQI", body)
        content = self._files[node - 2]
        content[len(content) :] = bytes(max(0, offset - len(content)))
        content[offset : offset + size] = body[40 : 40 + size]
        return struct.pack("=2I", size, 0)

    def on_statfs(self, _node: int, _body: bytes) -> bytes:
        return struct.pack("=5Q4I6I", 1000, 500, 500, 100, 50, BLOCK, 255, BLOCK, 0, *[0] * 6)

    def on_readdir(self, _node: int, body: bytes) -> bytes:
        _handle, offset = struct.unpack_from("=QQ", body)
        out = b""
        for number, name in list(enumerate(NAMES))[offset:]:
            out += struct.pack("=2Q2I", number + 2, number + 1, len(name), 8) + name.encode().ljust(8, b"\0")
        return out

    def on_flush(self, _node: int, _body: bytes) -> bytes:
        return b""

    on_fsync = on_release = on_releasedir = on_flush


def main(arguments: list[str]) -> int:
    """Mount, run the command, serve until it has ended; return its status."""
    directory, *options = arguments[: arguments.index("--")]
    command = arguments[arguments.index("--") + 1 :]
    below = options.pop(0).removeprefix("--below=") if options and options[0].startswith("--below=") else ""
    delays = {name: float(seconds) for name, seconds in (option.split("=") for option in options)}
    confine.unshare(CLONE_NEWNS)
    confine.mount(b"none", b"/", b"", MS_REC | MS_PRIVATE, b"")
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options_of_fuse = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    confine.mount(b"slow", directory.encode(), b"fuse.slow", 0, options_of_fuse.encode())
    threading.Thread(target=SlowFs(fd, delays).serve, daemon=True).start()
    if not below:
        return subprocess.run(command, check=False).returncode
    with tempfile.TemporaryDirectory() as empty:
        confine.mount(b"overlay", below.encode(), b"overlay", 0, f"lowerdir={directory}:{empty}".encode())
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # answers may still be on their way
