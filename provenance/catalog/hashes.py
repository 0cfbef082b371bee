"""What is known of images' pixels: digests from their ingest, and perceptual hashes as far as they were computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from provenance.catalog import tables as t
from provenance.catalog.engine import chunked, hold, upserting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session


def pixel_digests(session: Session, image_keys: Sequence[str]) -> dict[str, str]:
    """The ``pixel_digest`` of images, by image_key; erased ones are left out."""
    found: dict[str, str] = {}
    for chunk in chunked(image_keys):
        query = select(t.ImageIdentity.image_key, t.ImageIdentity.pixel_digest)
        found.update(session.execute(query.where(t.ImageIdentity.image_key.in_(chunk))).all())
    return found


def perceptual_hashes(session: Session, kind: str, image_keys: Sequence[str]) -> dict[str, str]:
    """The hashes of one kind that are on record, as hex digits, by image_key."""
    found: dict[str, str] = {}
    for chunk in chunked(image_keys):
        query = select(t.PerceptualHash.image_key, t.PerceptualHash.value)
        asked = query.where(t.PerceptualHash.kind == kind, t.PerceptualHash.image_key.in_(chunk))
        found.update(session.execute(asked).all())
    return found


def record_perceptual_hashes(session: Session, kind: str, values: Mapping[str, str]) -> None:
    """Keeps hashes of one kind; images that are forgotten or erased by now get none, known hashes stay as they are.

    Args:
        session: An open session.
        kind: Which hash it is, with its version.
        values: Hex digits by image_key.
    """
    hold(session, alone=False)
    for chunk in chunked(sorted(values)):
        query = (
            select(t.ImageIdentity.image_key)
            .join(t.Image, t.Image.image_key == t.ImageIdentity.image_key)
            .where(t.ImageIdentity.image_key.in_(chunk), t.Image.forgotten_at.is_(None))
        )
        rows = [{"image_key": key, "kind": kind, "value": values[key]} for key in session.scalars(query)]
        if rows:
            session.execute(upserting(session, t.PerceptualHash).on_conflict_do_nothing(), rows)
