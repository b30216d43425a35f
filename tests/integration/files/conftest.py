"""What tests of the host's files share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.files.bundles import Bundle


@pytest.fixture
def bundle(need: Callable[[str], str], namespaces: None, root_user: None, tmp_path: Path) -> Bundle:
    busybox = need("busybox")
    tmp_path.chmod(0o755)
    return Bundle(tmp_path / "bundle", busybox, tmp_path / "state")
