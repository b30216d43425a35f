"""How ``pysc debug --manifest`` shows a manifest: a table, with colours on a terminal, or JSON."""

from __future__ import annotations

import json
import os
import sys

import msgspec

from pysc.supervisor.failure import printable
from pysc.supervisor.manifest import Manifest
from pysc.supervisor.processor import Processor
from pysc.supervisor.processor_flags import component_name, flag_names
from pysc.supervisor.state import Damaged

FITS = "can run it"


def as_json(manifest: Manifest, misfit: str | None) -> str:
    """Return all of it; ``misfit`` is null if it can run here.

    Raises:
        Damaged: its specification is no JSON.
    """
    try:
        spec = json.loads(manifest.spec.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise Damaged(f"the specification in the manifest is damaged ({error}): make the container anew") from None
    processor = manifest.processor
    shown = {
        "version": manifest.version,
        "build": manifest.build,
        "guestBuild": manifest.guest.hex(),
        "bundle": os.fsdecode(manifest.bundle),
        "specSha256": manifest.spec_sha256.hex(),
        "spec": spec,
        "processor": {
            "vendor": processor.vendor,
            "signature": processor.signature,
            "features": _features(processor),
            "avx10": processor.avx10,
            "xcr0": processor.xcr0,
            "components": msgspec.to_builtins(processor.components),
        },
        "sources": [
            {"path": os.fsdecode(source.path), "device": source.device, "inode": source.inode}
            for source in manifest.sources
        ],
        "misfit": misfit,
    }
    return json.dumps(shown, indent=2)


def show(manifest: Manifest, misfit: str | None) -> None:
    """Print a table."""
    processor = manifest.processor
    rows = [
        ("build", manifest.build),
        ("guest half", manifest.guest.hex()),
        ("bundle", os.fsdecode(manifest.bundle)),
        ("config.json", f"{len(manifest.spec)} bytes, sha256 {manifest.spec_sha256.hex()}"),
        ("processor", f"{processor.vendor} {processor.signature:#x}"),
        ("features", " ".join(_features(processor))),
        ("XSAVE", f"XCR0 {processor.xcr0:#x}" + "".join(f", {part}" for part in _components(processor))),
        *(
            ("source", f"{os.fsdecode(source.path)}  {_device(source.device)} inode {source.inode}")
            for source in manifest.sources
        ),
        ("this host", misfit or FITS),
    ]
    rows = [(name, printable(value)) for name, value in rows]
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _rich(rows, "red" if misfit else "green")
    else:
        print("\n".join(f"{name:12} {value}" for name, value in rows))


def _features(processor: Processor) -> list[str]:
    return [name for word, bits in processor.features.items() for name in flag_names(word, bits)]


def _components(processor: Processor) -> list[str]:
    return [f"{component_name(part.number)} {part.size} bytes at {part.offset}" for part in processor.components]


def _device(number: int) -> str:
    return f"{os.major(number)}:{os.minor(number)}" if number < 1 << 63 else f"{number:#x}"


def _rich(rows: list[tuple[str, str]], verdict: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name, style="cyan"), Text(value, style=verdict if name == "this host" else ""))
    Console(highlight=False).print(table)
