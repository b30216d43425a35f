"""The RPC of pysc's processes: messages, a codec without I/O, and transports that pass descriptors.

May import ``pysc.cabi.linux`` (errno classes) and nothing else of ours.  Must never trust a frame."""

if __name__ != "pysc.urpc":
    raise ImportError("import this package as pysc.urpc")
