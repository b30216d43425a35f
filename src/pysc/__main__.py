"""The ``pysc`` command."""

import sys


def main() -> int:
    """Run the command line and return its exit status."""
    from pysc.supervisor.prefork import prefork

    prefork(sys.argv[1:])
    from pysc.supervisor.cli import main as command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
