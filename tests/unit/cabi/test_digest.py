"""SHA-256 against hashlib, and what tells builds apart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysc.cabi import GUEST, build_id
from pysc.cabi.digest import sha256


@given(st.binary(max_size=300))
def test_sha256(data: bytes) -> None:
    assert sha256(data) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("size", [55, 56, 63, 64, 65, 119, 120, 1_000_003])
def test_sha256_around_the_ends_of_blocks(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    assert sha256(data[:size]) == hashlib.sha256(data[:size]).digest()


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
