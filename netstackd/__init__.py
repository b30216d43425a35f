"""The TCP/IP stack of one sandbox.

May import ``urpc`` and ``cabi``.  So far it serves no link: the sandbox has no network."""

if __name__ != "pysc.netstackd":
    raise ImportError("import this package as pysc.netstackd")
