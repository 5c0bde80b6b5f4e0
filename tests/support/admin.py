"""What a running service tells on its admin port."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

Labels = dict[str, str]


@dataclass(frozen=True)
class AdminPort:
    """The admin port of a service."""

    url: str

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, str]:
        """Return an answer's status, media type and text."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=240)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["content-type"], answer.read().decode()
        finally:
            connection.close()

    def status(self, path: str) -> int:
        return self.get(path)[0]

    def samples(self) -> dict[str, list[tuple[Labels, float]]]:
        """Return every sample of a scrape with its labels, by name."""
        found: dict[str, list[tuple[Labels, float]]] = {}
        for family in text_string_to_metric_families(self.get("/metrics")[2]):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name that have these labels."""
        return sum(value for found, value in self.samples().get(name, []) if labels.items() <= found.items())
