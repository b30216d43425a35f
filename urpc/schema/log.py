"""The lines that every process of a sandbox appends to its log: as logrus writes them, since clients parse those."""

from __future__ import annotations

import json
import time


def line(level: str, message: str, *, as_json: bool) -> bytes:
    """Return one line of a log (level: debug, info, warning, error), to be appended by one write(2)."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if as_json:
        text = json.dumps({"level": level, "msg": message, "time": now})
    else:
        text = f'time="{now}" level={level} msg={json.dumps(message)}'
    return text.encode("utf-8", "backslashreplace") + b"\n"
