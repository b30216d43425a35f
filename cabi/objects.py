"""The objects that Python shares with fast paths (cabi/dispatch/objects.h): one set of pools in this process.

Classes of the kernel are faces of these structures: they read and write them in place, and own them.  A structure goes
with its face.

One set, and not one that each object is handed: faces name a structure by its index alone, wherever they are made, and
free it when they end, which may be when nothing else is left.  A process is the sentry of one sandbox, and what its
fast paths work on is in one place.  So what finds a face by such an index is a name in a module, too: who hears of
moves here, descriptions (fs/file.py), dentry caches (fs/dcache.py), mounts (fs/path.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import ENFILE, ENOMEM, linux_error

OBJECTS: Final[Any] = lib.pysc_objects_new()
if not OBJECTS:
    raise MemoryError("no address space for the objects of the kernel")

TABLE: Final = lib.PYSC_OBJECT_TABLE
FILE: Final = lib.PYSC_OBJECT_FILE
DATA: Final = lib.PYSC_OBJECT_DATA
PIPE: Final = lib.PYSC_OBJECT_PIPE
COUNTER: Final = lib.PYSC_OBJECT_COUNTER
BUDGET: Final = lib.PYSC_OBJECT_BUDGET
CONTEXT: Final = lib.PYSC_OBJECT_CONTEXT
INODE: Final = lib.PYSC_OBJECT_INODE
EPOLL: Final = lib.PYSC_OBJECT_EPOLL
ITEM: Final = lib.PYSC_OBJECT_ITEM
SUPER: Final = lib.PYSC_OBJECT_SUPER
HANDLERS: Final = lib.PYSC_OBJECT_HANDLERS
LOCKS: Final = lib.PYSC_OBJECT_LOCKS


class Moved(Protocol):
    """What hears of moves that fast paths made."""

    def moved(self, events: int) -> None:
        """It has POLL* ``events`` now: wake who waits for them."""


_listeners: Final[tuple[WeakValueDictionary[int, Moved], ...]] = tuple(
    WeakValueDictionary() for _ in range(lib.PYSC_OBJECT_KINDS)
)

# Frees one by index.  Faces bind theirs as a default of __del__, which may run when modules are gone already.
free_table: Final = partial(lib.pysc_object_free, OBJECTS, TABLE)
free_file: Final = partial(lib.pysc_object_free, OBJECTS, FILE)
free_data: Final = partial(lib.pysc_object_free, OBJECTS, DATA)
free_pipe: Final = partial(lib.pysc_object_free, OBJECTS, PIPE)
free_counter: Final = partial(lib.pysc_object_free, OBJECTS, COUNTER)
free_budget: Final = partial(lib.pysc_object_free, OBJECTS, BUDGET)
free_context: Final = partial(lib.pysc_object_free, OBJECTS, CONTEXT)
note_budget: Final = partial(lib.pysc_budget_note, OBJECTS)
rouse: Final = partial(lib.pysc_pipe_rouse, OBJECTS)
hide_dentry: Final = partial(lib.pysc_dentry_hide, OBJECTS)
free_inode: Final = partial(lib.pysc_object_free, OBJECTS, INODE)
free_epoll: Final = partial(lib.pysc_object_free, OBJECTS, EPOLL)
free_item: Final = partial(lib.pysc_object_free, OBJECTS, ITEM)
free_super: Final = partial(lib.pysc_object_free, OBJECTS, SUPER)
free_handlers: Final = partial(lib.pysc_object_free, OBJECTS, HANDLERS)
free_locks: Final = partial(lib.pysc_object_free, OBJECTS, LOCKS)


def new(kind: int) -> int:
    """Return the index of a new, zeroed structure.  ENFILE; ENOMEM if memory is out."""
    index = lib.pysc_object_new(OBJECTS, kind)
    if index < 0:
        raise ENFILE if index == -ENFILE.errno else ENOMEM
    return index


def memory_is_short() -> bool:
    """Whether this process has so much for guests that nothing shall be made that outlives them."""
    return bool(lib.pysc_memory_state(OBJECTS))


def memory_is_out() -> bool:
    """Whether it has so much that nothing shall be begun that keeps more."""
    out: bool = lib.pysc_memory_state(OBJECTS) == lib.PYSC_MEMORY_OUT
    return out


def descriptors() -> int:
    """Return how many of the host's this process may have."""
    most: int = lib.pysc_descriptors(OBJECTS)
    return most


def ask_descriptors() -> None:
    """Ask the host for that anew: whoever changes the limit does."""
    lib.pysc_descriptors_ask(OBJECTS)


def listen(kind: int, index: int, face: Moved) -> None:
    """Let ``face`` hear of moves while it lives."""
    _listeners[kind][index] = face


def on_moved(kind: int, index: int, events: int) -> None:
    """A fast path moved something that somebody waits for."""
    face = _listeners[kind].get(index)
    if face is not None:
        face.moved(events)


def count(kind: int) -> int:
    """Return how many structures of a kind are alive."""
    return lib.pysc_object_count(OBJECTS, kind)


def answered(result: int) -> int:
    """Return what a function answered, or raise the error that it gives."""
    if result < 0:
        raise linux_error(-result)
    return result


def check(result: int) -> None:
    """Raise ENOMEM for what failed for want of memory."""
    if result < 0:
        raise ENOMEM
