"""The command line, the OCI runtime, and the processes that start, watch and end a sandbox.

May import every component, but reaches the others' processes through ``urpc`` only."""

if __name__ != "pysc.supervisor":
    raise ImportError("import this package as pysc.supervisor")
