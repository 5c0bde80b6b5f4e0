"""The apps that send codes, their hosts and their templates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class App:
    """An app and its hosts, which make equally many calls."""

    app_key: str
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A template of an app.

    Attributes:
        temp_id: The template's id in the API.
        app: The index of its app in APPS.
        type: The template type, on which the price depends.
        segments: The segments that a message is charged.
        share: Its share of all sends, 0..1.
        typed_ratio: The ratio of messages that arrive in time whose code a person types by day; 0 for a notice.
    """

    temp_id: int
    app: int
    type: str
    segments: int
    share: float
    typed_ratio: float


APPS = (
    App("shop", ("shop-a", "shop-b", "shop-c", "shop-d")),
    App("bank", ("bank-a", "bank-b")),
    App("game", ("game-a",)),
    App("ride", ("ride-a",)),
    App("food", ("food-a",)),
    App("video", ("video-a",)),
)
TEMPLATES = (
    Template(1, 0, "code", 1, 0.44, 0.93),  # log in
    Template(2, 0, "code", 1, 0.12, 0.84),  # sign up: more people give up
    Template(3, 1, "code", 2, 0.26, 0.96),  # confirm a payment
    Template(4, 2, "notice", 1, 0.05, 0.0),  # announces a gift; no code is typed
    Template(5, 2, "code", 1, 0.07, 0.88),  # log in
    Template(6, 3, "code", 1, 0.02, 0.94),
    Template(7, 4, "code", 1, 0.02, 0.92),
    Template(8, 5, "code", 1, 0.02, 0.87),
)
UNKNOWN_TEMP_ID = 9  # in sends that are refused for their template
HOSTS = tuple(host for app in APPS for host in app.hosts)

# The same by the index of a template or of an app.
TEMPLATE_APPS = np.array([template.app for template in TEMPLATES], np.int8)
TEMP_IDS = np.array([template.temp_id for template in TEMPLATES], np.int16)
SEGMENTS = np.array([template.segments for template in TEMPLATES], np.int8)
SHARES = np.array([template.share for template in TEMPLATES])
TYPED_RATIOS = np.array([template.typed_ratio for template in TEMPLATES])
HOST_COUNTS = np.array([len(app.hosts) for app in APPS])
FIRST_HOSTS = np.cumsum(HOST_COUNTS) - HOST_COUNTS
