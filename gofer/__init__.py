"""The file server of one container: it does to the host's files what the sentry may not do itself.

May import ``urpc`` and ``cabi``.  Must never follow a symbolic link, keep state, or believe the sentry."""

if __name__ != "pysc.gofer":
    raise ImportError("import this package as pysc.gofer")
