"""The search for what is secret, in all that an Envoy shows to whoever reads its log or asks its admin port."""

from __future__ import annotations

from collections.abc import Mapping

from .gateway import Gateway

ADMIN_PAGES = ("/config_dump?include_eds", "/stats", "/stats/prometheus", "/clusters", "/listeners", "/certs", "/server_info")


def parts(secret: str) -> set[str]:
    """Pieces of it that nothing else has: a piece found is a secret found, however it was cut."""
    return {secret[at : at + 40] for at in range(0, len(secret) - 40, 40)}


def shown(gateway: Gateway) -> dict[str, str]:
    """The log and every admin page, by name."""
    return {"log": gateway.log(), **{page: gateway.admin(page).text() for page in ADMIN_PAGES}}


def found(secrets: Mapping[str, str], places: Mapping[str, str]) -> list[tuple[str, str]]:
    """Which secret is in which place."""
    return [
        (secret, place) for secret, content in secrets.items() for place, text in places.items()
        if any(part in text for part in parts(content))
    ]
