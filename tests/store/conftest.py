import dataclasses

import pytest

from vetrina.store import s3_connection


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> s3_connection.Patience:
    """Connections that give up within a few seconds, in as many attempts as usual."""
    patience = dataclasses.replace(
        s3_connection.PATIENCE, backoff=0.01, connect=2.0, read=2.0, deadline=5.0, failures=3, rest=30.0
    )
    monkeypatch.setattr(s3_connection, "PATIENCE", patience)
    return patience
