import dataclasses

import pytest

from vetrina.store import s3_connection


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> s3_connection.Patience:
    """Connections that hardly pause between attempts, which are as many as usual."""
    patience = dataclasses.replace(s3_connection.PATIENCE, backoff=0.01, rest=30.0)
    monkeypatch.setattr(s3_connection, "PATIENCE", patience)
    return patience
