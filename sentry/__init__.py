"""The kernel: tasks, signals, file systems, sockets, the loader and the platforms that run guests.

May import ``urpc`` and ``cabi``.  Must never block its loop, start a Python thread, or believe a guest."""

if __name__ != "pysc.sentry":
    raise ImportError("import this package as pysc.sentry")
