"""The assembler of filters."""

from __future__ import annotations

import pytest

from pysc.sentry.platform.bpf import JEQ, RET_ALLOW, RET_TRAP, assemble, give, load
from pysc.sentry.platform.bpf import test as jump


def test_jumps() -> None:
    """Labels become distances; None is the next instruction."""
    program = assemble([load(0), jump(JEQ, 5, "good", None), give(RET_TRAP), "good", give(RET_ALLOW)])
    assert program == bytes.fromhex("2000000000000000 1500010005000000 0600000000000300 060000000000ff7f")


def test_what_cannot_be_assembled() -> None:
    """Unknown labels, jumps backwards and jumps that are too long."""
    with pytest.raises(ValueError, match="unknown label"):
        assemble([jump(JEQ, 5, "nowhere", None)])
    with pytest.raises(ValueError, match="jump to"):
        assemble(["back", load(0), jump(JEQ, 5, "back", None)])
    with pytest.raises(ValueError, match="over 256"):
        assemble([jump(JEQ, 5, "far", None), *[load(0)] * 256, "far", give(RET_ALLOW)])
