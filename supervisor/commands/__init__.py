"""The commands, one a module: ``Options``, a msgspec struct of flags, and ``main``."""
