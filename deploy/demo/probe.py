"""Asks the worker and the sink how far they are, from their health pages on the loopback address."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
TIMEOUT_S = 2.0


class Page(NamedTuple):
    """Samples of a metrics page: by name, then by labels."""

    samples: Mapping[str, Mapping[Labels, float]]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of a metric over all samples that have these labels, None if there is none."""
        wanted = labels.items()
        found = [value for at, value in self.samples.get(name, {}).items() if wanted <= at]
        return sum(found) if found else None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """A metric by the values of one label."""
        wanted = labels.items()
        return {dict(at)[label]: value for at, value in self.samples.get(name, {}).items() if wanted <= at}


def fetch(url: str) -> bytes | None:
    """The body of a page (http only), None if it does not answer 200 in time. Proxies are not asked."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def metrics(base_url: str) -> Page | None:
    """The metrics of a process, None while it does not answer."""
    body = fetch(f"{base_url}/metrics")
    return None if body is None else parse(body.decode("utf-8", "replace"))


def parse(text: str) -> Page:
    """Prometheus' text format as a page."""
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Page(found)
