"""What the settings refuse, and what of them shows in messages."""

import dataclasses

import pytest

from vetrina.errors import SettingError
from vetrina.settings import Settings

NUMBERS = [item.metadata["env"] for item in dataclasses.fields(Settings) if str(item.type).startswith("float")]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_none_or_has_no_end_is_refused_by_the_name_of_its_setting(value: str) -> None:
    assert {"VETRINA_CACHE_GIB", "VETRINA_WATCH_SETTLE", "VETRINA_MIN_SCORE"} <= set(NUMBERS)
    for name in NUMBERS:
        with pytest.raises(SettingError, match=rf"^{name} is -?(nan|inf); it must "):
            Settings.from_environment({name: value})


def test_secrets_and_addresses_that_may_hold_one_do_not_show() -> None:
    secret = "hidden-from-everybody"
    settings = Settings(
        celery_broker=f"redis://:{secret}@host/0",
        celery_backend=f"redis://:{secret}@host/1",
        serve_token=secret,
        sync_source=f"https://shop.example/export.csv?signature={secret}",
    )
    assert secret not in repr(settings)
