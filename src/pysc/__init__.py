"""pysc: a sandbox whose system calls are answered by a Linux kernel written in Python.

Four kinds of process make a sandbox.  The *supervisor* (``pysc.supervisor``) starts, watches and ends
the others; the *sentry* (``pysc.sentry``) is the kernel; the *gofer* (``pysc.gofer``) serves files; and
*netstackd* (``pysc.netstackd``) moves packets.  They talk in ``pysc.urpc``; what must be fast, or cannot
be said in Python, is C in ``pysc.cabi``.
"""

__version__ = "0.1.0"
