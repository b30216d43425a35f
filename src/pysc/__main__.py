"""The ``pysc`` command."""

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    gc.disable()  # until everything is imported: none of that is garbage
    open_standard_files()
    load_msgspec()
    from pysc.supervisor.prefork import prefork

    prefork(sys.argv[1:])
    from pysc.supervisor.cli import main as command

    status = command(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        pass  # nobody reads any more
    os._exit(status)  # taking every module down in order costs 15 ms, and nothing here needs it


def open_standard_files() -> None:
    """Have /dev/null as what the caller has closed of standard input, output and error.

    Else the next file that is opened would become it, the guest's or ours.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def load_msgspec() -> None:
    """Import msgspec without typing_extensions, which it takes names from that ``typing`` has as well.

    What that loads in turn (inspect, ast, dis) costs each start 15 ms and each sandbox 2 MB.
    """
    name = "typing_extensions"
    if name in sys.modules:
        return
    sys.modules[name] = None  # type: ignore[assignment]  # "there is no such module" to the import system
    try:
        import msgspec

        assert msgspec
    finally:
        del sys.modules[name]


if __name__ == "__main__":
    main()
