"""Which executor works through the steps of a run, as VETRINA_EXECUTOR says. Code never asks which it is.

Celery and Kubernetes are optional extras, imported only when they are asked for. `vetrina add` and its like do not
come here: they work in their own process whatever the setting says.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from vetrina.errors import SettingError
from vetrina.settings import Settings

MAX_RUNTIME_TAG = "dagster/max_runtime"
_DAY = 86_400


def executor_of(settings: Settings) -> dg.ExecutorDefinition:
    """The executor that the settings name.

    Raises:
        SettingError: an unknown name, or an extra that is not installed.
    """
    if settings.executor not in _EXECUTORS:
        raise SettingError(f"VETRINA_EXECUTOR is {settings.executor!r}; use one of {', '.join(_EXECUTORS)}")
    return _EXECUTORS[settings.executor](settings)


def run_tags(settings: Settings) -> Mapping[str, str]:
    """Tags of every run: how long it may take, since a run whose worker was killed waits for ever otherwise.

    They are there when it may take for ever, too: of a run without them dagster.yaml says that it may take a day.
    """
    return {MAX_RUNTIME_TAG: str(settings.max_run_seconds)}


def celery_config(settings: Settings) -> dict[str, Any]:
    """The configuration of the Celery executor; the workers' (deploy/celery.yaml) must agree with it.

    Raises:
        SettingError: broker or backend is no URL. The message does not repeat it: it may hold a password.
    """
    for name, url in {"BROKER": settings.celery_broker, "BACKEND": settings.celery_backend}.items():
        if url and not re.match(r"[a-z][a-z0-9+]*://", url):
            raise SettingError(f"VETRINA_CELERY_{name} is not a URL; it should look like redis://HOST:6379/0")
    from dagster_celery.defaults import broker_transport_options

    return {
        "broker": settings.celery_broker,
        "backend": settings.celery_backend or settings.celery_broker,
        "config_source": {
            # Redis gives a waiting task to a second worker after an hour by default.
            "broker_transport_options": {
                **broker_transport_options,  # ours would replace them, and a broker that is down be asked for ever
                "visibility_timeout": settings.max_run_seconds or _DAY,
            },
        },
    }


def _celery(settings: Settings) -> dg.ExecutorDefinition:
    try:
        from dagster_celery import celery_executor
    except ImportError as error:
        raise _missing("celery", error) from error
    configured: dg.ExecutorDefinition = celery_executor.configured(celery_config(settings), name="celery")
    return configured


def _kubernetes(settings: Settings) -> dg.ExecutorDefinition:
    try:
        from dagster_k8s import k8s_job_executor
    except ImportError as error:
        raise _missing("kubernetes", error) from error
    return k8s_job_executor


def _missing(extra: str, error: ImportError) -> SettingError:
    return SettingError(
        f"VETRINA_EXECUTOR is {extra!r}, which needs packages that are not installed ({error.name}); "
        f"run: pip install 'vetrina[{extra}]'"
    )


_EXECUTORS: Mapping[str, Callable[[Settings], dg.ExecutorDefinition]] = {
    "in_process": lambda settings: dg.in_process_executor,
    "multiprocess": lambda settings: dg.multiprocess_executor,
    "celery": _celery,
    "kubernetes": _kubernetes,
}
