"""What fast paths share with Python, saved and loaded beside itself."""

from __future__ import annotations

from typing import Any

from pysc.cabi._dispatch import lib
from pysc.cabi.saved import dump_objects, load_objects


def copy_objects(*objects: Any) -> Any:
    """Return another set (to be freed) of all that there is, or is in ``objects``: saving it says the same again."""
    records = list(dump_objects(*objects))
    copy = lib.pysc_objects_new()
    try:
        load_objects(records, copy)
        assert list(dump_objects(copy)) == records
    except BaseException:
        lib.pysc_objects_free(copy)
        raise
    return copy


def check_objects() -> None:
    """Whether all that there is could be saved now, and loaded."""
    lib.pysc_objects_free(copy_objects())
