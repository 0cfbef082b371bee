"""Keyed digests: pseudonyms of groups, and the list of what must not come back.

Both are HMAC-SHA256 under the catalog's own random key. Group keys (patient numbers) are few and guessable, so a
plain digest would give them away; and a suppression list of plain digests would tell who was forgotten.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from provenance.catalog import tables as t
from provenance.catalog.engine import now, rows_by, upserting
from provenance.catalog.migrate import CATALOG_UUID, PSEUDONYM_KEY, STORE_UUID
from provenance.errors import CatalogError, ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

PSEUDONYM_LENGTH = 32


def fact(session: Session, key: str) -> str | None:
    """One fact of the catalog itself."""
    return session.scalar(select(t.CatalogFact.value).where(t.CatalogFact.key == key))


def catalog_uuid(session: Session) -> str:
    """The catalog's uuid, given when it was made.

    Raises:
        CatalogError: If the database has lost it.
    """
    return _required(session, CATALOG_UUID)


def bind_store(session: Session, store_uuid: str) -> None:
    """Ties the catalog to its vector index: the first call binds, later ones compare.

    Raises:
        ConflictError: If it is bound to another store.
    """
    bound = fact(session, STORE_UUID)
    if bound is None:
        session.execute(insert(t.CatalogFact).values(key=STORE_UUID, value=store_uuid))
    elif bound != store_uuid:
        raise ConflictError(
            f"this catalog belongs to vector index {bound}, not to {store_uuid}",
            hint="check the index URL; a catalog and its index are moved and restored together",
        )


def bound_store(session: Session) -> str | None:
    """The uuid of the vector index that the catalog belongs to; ``None`` before the first one."""
    return fact(session, STORE_UUID)


def rebind_store(session: Session, store_uuid: str) -> None:
    """Ties the catalog to another vector index, which the caller knows to be empty: the one before is lost."""
    bound = update(t.CatalogFact).where(t.CatalogFact.key == STORE_UUID)
    session.execute(bound.values(value=store_uuid))


def pseudonym(session: Session, raw: str) -> str:
    """The pseudonym of a raw group key: 32 hex digits, the same for the catalog's whole life."""
    return pseudonyms(session, [raw])[raw]


def pseudonyms(session: Session, raw_keys: Iterable[str]) -> dict[str, str]:
    """``pseudonym`` of many."""
    key = _secret(session)
    return {raw: _keyed(key, f"group:{raw}")[:PSEUDONYM_LENGTH] for raw in raw_keys}


def suppressed(session: Session, images: Sequence[tuple[str, str]]) -> set[str]:
    """The image_ids of those whose bytes or pixels are on the suppression list: they must not come back.

    Images are pairs of image_id and pixel_digest ('' where the pixels are not known).
    """
    key = _secret(session)
    owner: dict[str, list[str]] = {}
    for image_id, pixel_digest in images:
        for digest in suppression_digests(key, image_id, pixel_digest):
            owner.setdefault(digest, []).append(image_id)
    column = t.Suppression.suppressed_digest
    listed = rows_by(session, select(column), column, list(owner))
    return {image_id for (digest,) in listed for image_id in owner[digest]}


def suppress(session: Session, image_id: str, pixel_digest: str) -> None:
    """Puts an image's bytes and pixels on the suppression list."""
    moment = now()
    digests = suppression_digests(_secret(session), image_id, pixel_digest)
    rows = [{"suppressed_digest": digest, "suppressed_at": moment} for digest in digests]
    session.execute(upserting(session, t.Suppression).on_conflict_do_nothing(), rows)


def suppression_digests(key: bytes, image_id: str, pixel_digest: str) -> list[str]:
    """The keyed digests an image is suppressed by: of its bytes and, where known, of its pixels."""
    words = [f"image:{image_id}"] + ([f"pixels:{pixel_digest}"] if pixel_digest else [])
    return [_keyed(key, word) for word in words]


def _keyed(key: bytes, word: str) -> str:
    return hmac.digest(key, word.encode("utf-8", "surrogatepass"), "sha256").hex()


def _secret(session: Session) -> bytes:
    return bytes.fromhex(_required(session, PSEUDONYM_KEY))


def _required(session: Session, key: str) -> str:
    value = fact(session, key)
    if value is None:
        raise CatalogError(f"the catalog has lost its {key}", hint="restore it from a backup")
    return value
