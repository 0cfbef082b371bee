"""The catalog's face: one class that owns the database and offers every topic's functions as its methods.

Every method is one transaction. A writing one commits when it returns and leaves nothing when it raises.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session

from provenance.catalog import about_image as _about_image
from provenance.catalog import audits as _audits
from provenance.catalog import datasets as _datasets
from provenance.catalog import erasure as _erasure
from provenance.catalog import images as _images
from provenance.catalog import migrate as _migrate
from provenance.catalog import points as _points
from provenance.catalog import pseudonyms as _pseudonyms
from provenance.catalog import recording as _recording
from provenance.catalog import relocation as _relocation
from provenance.catalog import runs as _runs
from provenance.catalog import scrubbing as _scrubbing
from provenance.catalog import spaces as _spaces
from provenance.catalog import transfer as _transfer
from provenance.catalog.engine import (
    for_people,
    is_missing,
    is_read_only,
    make_engine,
    parse_url,
    require_writable,
    translated,
    writing_engine,
)
from provenance.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import URL, Engine

    from provenance.records import PointRecord

P = ParamSpec("P")
R = TypeVar("R")

_PAGE = 10_000


def _reads(
    function: Callable[Concatenate[Session, P], R], writing: bool = False
) -> Callable[Concatenate[Catalog, P], R]:
    """A topic's function as a method, in a transaction of its own."""

    @wraps(function)
    def call(catalog: Catalog, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return catalog._run(function, writing, *args, **kwargs)

    return call


def _writes(function: Callable[Concatenate[Session, P], R]) -> Callable[Concatenate[Catalog, P], R]:
    """As ``_reads``, in a transaction that writes."""
    return _reads(function, writing=True)


class Catalog(Resource):
    """All facts over one database; ``Catalog.open`` gives one. May be used by several threads."""

    def __init__(self, engine: Engine, url: URL) -> None:
        self._url = url
        self._engine = engine
        self._writing = writing_engine(engine)

    @classmethod
    def open(cls, url: str | Path, *, create: bool = False) -> Catalog:
        """Opens the catalog at a URL.

        Args:
            url: ``sqlite:///FILE`` or ``postgresql://USER@HOST/DATABASE``; a path is a SQLite file, whatever its name.
            create: Makes the tables where there are none. An older catalog is never changed by this.

        Raises:
            CatalogError: If there is none, it can't be reached, or its revision is not this software's.
        """
        parsed = parse_url(url)
        missing = is_missing(parsed)
        if missing and not create:
            _migrate.require_head(None, for_people(parsed))
        if create and (missing or _migrate.current_revision(url) is None):
            _migrate.upgrade(url)
        catalog = cls(make_engine(parsed), parsed)
        try:
            with translated(parsed), catalog._engine.connect() as connection:
                _migrate.require_head(_migrate.revision_of(connection), for_people(parsed))
        except BaseException:
            catalog.close()
            raise
        return catalog

    def close(self) -> None:
        """Gives the connections back. A closed catalog opens new ones when it is used again."""
        self._engine.dispose()

    @property
    def is_read_only(self) -> bool:
        """Whether it can only be read: the file of a SQLite catalog, or its folder, lets nobody write."""
        return is_read_only(self._engine)

    def require_writable(self) -> None:
        """Raises ``CatalogError`` if the catalog can only be read."""
        require_writable(self._engine)

    @property
    def url_for_people(self) -> str:
        """The database's URL without its password."""
        return for_people(self._url)

    def copy_to(self, file: Path) -> None:
        """See ``transfer.copy_to_file``."""
        with translated(self._url):
            _transfer.copy_to_file(self._engine, self._url, file)

    def scrub(self) -> bool:
        """See ``scrubbing.scrub``."""
        return _scrubbing.scrub(self._engine, self._url)

    @property
    def may_keep(self) -> list[str]:
        """See ``scrubbing.may_keep``."""
        return _scrubbing.may_keep(self._url)

    @property
    def catalog_uuid(self) -> str:
        """The catalog's uuid, given when it was made."""
        return self._run(_pseudonyms.catalog_uuid, False)

    def _run(
        self, function: Callable[Concatenate[Session, P], R], writing: bool, /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        with translated(self._url), Session(self._writing if writing else self._engine) as session, session.begin():
            return function(session, *args, **kwargs)

    # the catalog itself
    bind_store = _writes(_pseudonyms.bind_store)
    bound_store = _reads(_pseudonyms.bound_store)
    rebind_store = _writes(_pseudonyms.rebind_store)
    pseudonym = _reads(_pseudonyms.pseudonym)

    # datasets
    create_set = _writes(_datasets.create_set)
    create_release = _writes(_datasets.create_release)
    dataset = _reads(_datasets.dataset)
    dataset_by_id = _reads(_datasets.dataset_by_id)
    datasets = _reads(_datasets.datasets)
    seal = _writes(_datasets.seal)
    latest_seal = _reads(_datasets.latest_seal)
    remove_dataset = _writes(_datasets.remove_dataset)
    discard_empty = _writes(_datasets.discard_empty)

    # runs and what they rejected
    start_run = _writes(_runs.start_run)
    finish_run = _writes(_runs.finish_run)
    runs = _reads(_runs.runs)
    add_rejects = _writes(_runs.add_rejects)
    record_sidecars = _writes(_runs.record_sidecars)
    clear_reject = _writes(_runs.clear_reject)
    rejects = _reads(_runs.rejects)

    # spaces and collections
    ensure_space = _writes(_spaces.ensure_space)
    space = _reads(_spaces.space)
    ensure_collection = _writes(_spaces.ensure_collection)
    collections_of = _reads(_spaces.collections_of)
    live_collections = _reads(_spaces.live_collections)
    empty_collections = _reads(_spaces.empty_collections)
    dropped_collections = _reads(_spaces.dropped_collections)
    begin_rewriting = _writes(_spaces.begin_rewriting)
    finish_rewriting = _writes(_spaces.finish_rewriting)
    older_than_forgetting = _reads(_spaces.older_than_forgetting)
    spaces = _reads(_spaces.spaces)
    canonical = _reads(_spaces.canonical)

    # images, and the order of writes
    lookup = _reads(_images.lookup)
    point_states = _reads(_points.point_states)
    vectors_elsewhere = _reads(_points.vectors_elsewhere)
    suppressed = _reads(_pseudonyms.suppressed)
    record_batch = _writes(_recording.record_batch)
    regroup = _writes(_recording.regroup)
    regrouped_at = _reads(_datasets.regrouped_at)
    acknowledge = _writes(_points.acknowledge)
    pending_points = _reads(_points.pending_points)
    drop_pending = _writes(_points.drop_pending)
    members = _reads(_images.members)
    member_ids = _reads(_images.member_ids)
    member_count = _reads(_images.member_count)
    claimed_elsewhere = _reads(_images.claimed_elsewhere)
    group_sizes = _reads(_images.group_sizes)
    retired_count = _reads(_images.retired_count)
    places_of = _reads(_images.places_of)
    retire = _writes(_recording.retire)
    native_resolutions = _reads(_images.native_resolutions)
    sizes_of = _reads(_images.sizes_of)
    names_of = _reads(_images.names_of)
    occurrence_names = _reads(_images.occurrence_names)
    placements = _reads(_images.placements)

    # points, compared with sources and with the index
    known_at = _reads(_points.known_at)
    points_by_id = _reads(_points.points_by_id)
    are_indexed = _reads(_points.are_indexed)
    point_facts = _reads(_points.point_facts)
    without_vector = _reads(_points.without_vector)

    def points_of(self, collection_key: str) -> Iterator[PointRecord]:
        """The points of a collection in ascending order of point_id, whatever their state.

        Read page by page, so that no transaction stays open between them.
        """
        last = ""
        while page := self._run(_points.points_after, False, collection_key, last, _PAGE):
            yield from page
            last = page[-1].point_id

    # what images look like
    pixel_digests = _reads(_images.pixel_digests)
    perceptual_hashes = _reads(_images.perceptual_hashes)
    record_perceptual_hashes = _writes(_images.record_perceptual_hashes)
    image_headers = _reads(_images.image_headers)

    # audits
    ensure_policy = _writes(_audits.ensure_policy)
    declare_policy = _writes(_audits.declare_policy)
    declarations = _reads(_audits.declarations)
    policy = _reads(_audits.policy)
    record_audit = _writes(_audits.record_audit)
    audit = _reads(_audits.audit)
    audits = _reads(_audits.audits)
    parts_of = _reads(_audits.parts_of)
    answer_of = _reads(_audits.answer_of)
    whole_of = _reads(_audits.whole_of)
    audit_datasets = _reads(_audits.audit_datasets)
    audit_rejects = _reads(_audits.audit_rejects)
    verdicts = _reads(_audits.verdicts)
    neighbors_of = _reads(_audits.neighbors_of)
    sources_of = _reads(_audits.sources_of)
    calibration_scores = _reads(_audits.calibration_scores)
    standing_copies = _reads(_audits.standing_copies)
    replaced_by = _reads(_about_image.replaced_by)
    copies_of = _reads(_audits.copies_of)
    membership_figures = _reads(_audits.membership_figures)
    record_sensitivity = _writes(_audits.record_sensitivity)
    sensitivities = _reads(_audits.sensitivities)
    native_formats = _reads(_images.native_formats)

    # one image
    resolve_image = _reads(_about_image.resolve_image)
    image = _reads(_about_image.image)
    occurrences_of = _reads(_about_image.occurrences_of)
    occurrences_for_reading = _reads(_about_image.occurrences_for_reading)
    places_for_reading = _reads(_about_image.places_for_reading)
    memberships_of = _reads(_about_image.memberships_of)
    spaces_of = _reads(_about_image.spaces_of)
    verdicts_about = _reads(_about_image.verdicts_about)
    verdicts_citing = _reads(_about_image.verdicts_citing)
    verdict_on = _reads(_about_image.verdict_on)
    calibration_score = _reads(_about_image.calibration_score)
    history_of = _reads(_about_image.history_of)

    # forgetting and moving
    forget_image = _writes(_erasure.forget_image)
    finish_forget = _writes(_erasure.finish_forget)
    deleting_points = _reads(_erasure.deleting_points)
    erasures = _reads(_erasure.erasures)
    unfinished_forgets = _reads(_erasure.unfinished_forgets)
    relocate = _writes(_relocation.relocate)
