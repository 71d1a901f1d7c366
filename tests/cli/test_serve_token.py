"""The token of a service."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timesformer.cli.serve import TOKEN, _token


def test_the_token_leaves_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that decode uploads inherit it; the file has the last word."""
    monkeypatch.setenv(TOKEN, "s3cret\n")
    assert _token(None) == "s3cret"
    assert TOKEN not in os.environ
    assert _token(None) is None
    monkeypatch.setenv(TOKEN, "s3cret")
    (tmp_path / "token").write_text("other")
    assert _token(tmp_path / "token") == "other"
    assert TOKEN not in os.environ
