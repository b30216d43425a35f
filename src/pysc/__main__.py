"""The ``pysc`` command."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    from pysc.supervisor.prefork import prefork

    prefork(sys.argv[1:])
    from pysc.supervisor.cli import main as command

    status = command(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        pass  # nobody reads any more
    os._exit(status)  # taking every module down in order costs 15 ms, and nothing here needs it


if __name__ == "__main__":
    main()
