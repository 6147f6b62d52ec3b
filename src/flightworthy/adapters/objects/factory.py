"""Opens ``s3://bucket/prefix``: a place for snapshots of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from flightworthy.ground.errors import AdapterError
from flightworthy.ground.registry import missing_extra

if TYPE_CHECKING:
    from flightworthy.adapters.objects.shelf import ObjectShelf

_KNOWN = {"endpoint", "region"}


def open_shelf(url: str, **_: Any) -> ObjectShelf:
    """``?endpoint=https://host`` for a store that is not Amazon's, ``?region=``. Who we are comes from the environment
    (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web identity token, or the machine's role), never from the URL.

    Raises `AdapterError`.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if "@" in parts.netloc:
        raise AdapterError("an address holds no key", where=parts.hostname or "", expected="AWS_ACCESS_KEY_ID in the environment")
    if not parts.netloc or (unknown := sorted(query.keys() - _KNOWN)):
        raise AdapterError("this is no place in an object store", found=unknown[0] if parts.netloc else url,
                           expected="s3://bucket/prefix?endpoint=https://host&region=eu-central-1")
    try:
        from flightworthy.adapters.objects.shelf import ObjectShelf
    except ImportError:
        raise missing_extra("obstore", "s3", url) from None
    return ObjectShelf(f"s3://{parts.netloc}", parts.path.strip("/"), query.get("endpoint", ""), query.get("region", ""))
