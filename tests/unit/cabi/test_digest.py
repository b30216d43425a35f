"""Digests, and what tells builds apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pysc.cabi import GUEST, build_id
from pysc.cabi.digest import sha256


def test_sha256() -> None:
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_guest_half_has_a_build_id() -> None:
    found = build_id.guest_build()
    assert len(found) == build_id.GUEST_BUILD_SIZE
    assert b"GNU\0" + found in Path(GUEST).read_bytes()


@pytest.mark.parametrize("size", [0, 63, 64, 200])
def test_a_guest_half_without_one(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = tmp_path / "guest.elf"
    cut.write_bytes(Path(GUEST).read_bytes()[:size])
    monkeypatch.setattr(build_id, "GUEST", str(cut))
    with pytest.raises(OSError, match="no build ID"):
        build_id.guest_build()
