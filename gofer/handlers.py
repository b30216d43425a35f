"""Which function answers which request, and how a host's error becomes the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pysc.cabi.linux.errors import EIO, EMFILE, ENFILE, linux_error
from pysc.gofer.changing import Changing
from pysc.gofer.making import Making
from pysc.gofer.mounts import Mounts, ServedMount
from pysc.gofer.reading import Reading
from pysc.urpc.blocking import Handler
from pysc.urpc.message import Request
from pysc.urpc.schema import gofer as schema


def handlers(served: Sequence[ServedMount]) -> dict[type[Request[Any]], Handler]:
    """Return a handler for each request of :data:`pysc.urpc.schema.gofer.GOFER`."""
    mounts = Mounts(served)
    reading, making, changing = Reading(mounts), Making(mounts), Changing(mounts)
    table: dict[type[Request[Any]], Handler] = {
        schema.Attach: reading.attach,
        schema.Walk: reading.walk,
        schema.Open: reading.open,
        schema.ReadLink: reading.read_link,
        schema.ListDirectory: reading.list_directory,
        schema.StatFs: reading.stat_fs,
        schema.GetXattr: changing.get_xattr,
        schema.ListXattrs: changing.list_xattrs,
        schema.Create: making.create,
        schema.MakeDirectory: making.make_directory,
        schema.MakeSymlink: making.make_symlink,
        schema.MakeNode: making.make_node,
        schema.Link: making.link,
        schema.Rename: making.rename,
        schema.Unlink: making.unlink,
        schema.SetAttributes: changing.set_attributes,
        schema.SetOpenAttributes: changing.set_open_attributes,
        schema.SetXattr: changing.set_xattr,
        schema.RemoveXattr: changing.remove_xattr,
        schema.Allocate: changing.allocate,
        schema.Sync: changing.sync,
        schema.Connect: reading.connect,
    }
    return {request: _answered_by_host(handler) for request, handler in table.items()}


def _answered_by_host(handler: Handler) -> Callable[[Any], object]:
    # A refusal of the host is the guest's answer; that we have no descriptor left is not the guest's process's limit.
    def answer(request: Any) -> object:
        try:
            return handler(request)
        except OSError as error:
            if error.errno == EMFILE.errno:
                raise ENFILE from None
            raise linux_error(error.errno or EIO.errno) from None

    return answer
