"""The C of pysc and the Linux ABI: the guest half, the dispatcher, single host calls, constants and errnos.

May import nothing of ours.  Only this package touches the compiled modules' ``lib`` and ``ffi``."""

if __name__ != "pysc.cabi":
    raise ImportError("import this package as pysc.cabi")
