"""Cast: the apps that send codes, their hosts and their templates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class App:
    """An app and the hosts that call for it, each as often as another."""

    app_key: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A template of an app: what a send with it is charged, and its share of all sends, 0..1."""

    temp_id: int
    app: int
    type: str
    segments: int
    share: float


APPS = (
    App("shop", ("shop-a", "shop-b", "shop-c", "shop-d")),
    App("bank", ("bank-a", "bank-b")),
    App("game", ("game-a",)),
)
TEMPLATES = (
    Template(1, 0, "code", 1, 0.47),
    Template(2, 0, "code", 1, 0.13),
    Template(3, 1, "code", 2, 0.28),
    Template(4, 2, "notice", 1, 0.12),
)
NO_TEMP_ID = 9  # a template that nobody has
HOSTS = tuple(host for app in APPS for host in app.hosts)

APP_OF = np.array([template.app for template in TEMPLATES], np.int8)
TEMP_ID = np.array([template.temp_id for template in TEMPLATES], np.int16)
SEGMENTS = np.array([template.segments for template in TEMPLATES], np.int8)
SHARES = np.array([template.share for template in TEMPLATES])
HOST_COUNT = np.array([len(app.hosts) for app in APPS])
FIRST_HOST = np.cumsum(HOST_COUNT) - HOST_COUNT


def app_share(app: int) -> float:
    """Return an app's share of all sends."""
    return sum(template.share for template in TEMPLATES if template.app == app)
