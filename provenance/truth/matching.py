"""Which judged image each row of truth is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import ConflictError, NotFoundError, SourceError, UsageError
from provenance.exports import id_of_name
from provenance.text import name_key
from provenance.vocabulary import IMAGE_ID_PREFIX, Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from provenance.installation import Installation
    from provenance.truth.judged import JudgedAudit
    from provenance.truth.labels import TruthRow

MIN_DIGITS = 8
_SHOWN = 3
_LEVELS = 8
"""How exactly a name may be meant: see ``_aliases_of``."""


@dataclass(frozen=True, slots=True, repr=False)
class Truth(Brief):
    """What is known of an audit's judged images.

    Attributes:
        used: By image_key; images without known truth are left out.
        source: ``labels`` or ``claims``.
        unjudged: Keys of rows about images that the audit's datasets hold, or rejected, and that have no verdict.
        unknown: Keys of rows about nothing that this audit knows.
        contradicted: Images whose label is not what the audit claimed of them.
        mixed: Images of groups of both kinds, which the audit's own test leaves out.
    """

    used: dict[str, bool]
    source: str
    unjudged: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    contradicted: int = 0
    mixed: int = 0


def truth_of_claims(judged: JudgedAudit) -> Truth:
    """The audit's own claims as truth: which of its real images are in used sets, and which in not-used ones.

    Those that calibrate it are among them. Where it tests its release, truth is of the images that the test compares.

    Raises:
        UsageError: If it judged generated images, or nothing is claimed of the real ones.
    """
    if judged.audit.subject is Subject.GENERATED:
        raise UsageError(
            f"audit {judged.short_id} judged generated images, and nothing on record says what is true of these",
            hint="give their truth with --labels, or evaluate an audit with --subject real",
        )
    claimed = {image.image_key: image.claimed for image in judged.known if image.claimed is not None}
    left_out = () if judged.tested is None else tuple(key for key in claimed if key not in judged.tested)
    used = {key: truth for key, truth in claimed.items() if key not in left_out}
    if not used:
        raise UsageError(
            f"all images that audit {judged.short_id} judged are of unknown use", hint="give their truth with --labels"
        )
    return Truth(used, "claims", mixed=len(left_out))


def truth_of_labels(workspace: Installation, judged: JudgedAudit, rows: Sequence[TruthRow]) -> Truth:
    """Find the image of every row.

    An id may be shortened to 8 or more digits. A name is looked for as it is, then without its extension, then as the
    last part of a path, then as that without extension; then in this order as names are compared (composed or not).
    The first of these that is found counts; a set's or release's name and a slash may stand before it. It may stand for
    many occurrences of one image, not for different images.

    Raises:
        NotFoundError: If no row is about a judged image.
        ConflictError: If a name or shortened id could mean several images.
        SourceError: If two rows contradict each other.
    """
    index = _Index(workspace, judged)
    claims = {image.image_key: image.claimed for image in judged.images}
    said: dict[str, TruthRow] = {}
    unjudged: list[str] = []
    unknown: list[str] = []
    for row in rows:
        key = index.image_of(row)
        if key is None:
            (unjudged if index.is_rejected(row) else unknown).append(row.key)
        elif key not in claims:
            unjudged.append(row.key)
        elif said.setdefault(key, row).used is not row.used:
            raise SourceError(
                f"{said[key].place} and {row.place} contradict each other: they are about the same image",
                hint="one truth an image; the same bytes under two names are one image",
            )
    if not said:
        raise NotFoundError(
            f"none of the {len(rows)} labels is about an image that audit {judged.short_id} judged",
            hint=f"it judged {judged.audit.subject.value} images of {_names(judged)}",
        )
    used = {key: row.used for key, row in said.items()}
    contradicted = sum(claims[key] not in (None, truth) for key, truth in used.items())
    return Truth(used, "labels", tuple(unjudged), tuple(unknown), contradicted)


class _Index:
    """Names and ids of the images in the datasets that an audit judged."""

    def __init__(self, workspace: Installation, judged: JudgedAudit) -> None:
        self._catalog = workspace.catalog
        self._ids = {image.verdict.image_id: image.image_key for image in judged.images if image.verdict.image_id}
        self._members: set[str] = set()
        # dataset name ('' for all) -> how exact -> alias -> image keys
        self._aliases: dict[str, list[dict[str, set[str]]]] = {}
        for row in judged.datasets:
            for key, names in self._catalog.occurrence_names([row.dataset_id]).items():
                self._members.add(key)
                for name in names:
                    self._add("", name, key)
                    self._add(name_key(row.name), name, key)
        of_these = {row.dataset_id for row in judged.datasets}
        rejects = (each.reject for each in self._catalog.audit_rejects(judged.audit.audit_id))
        self._rejected = {
            alias
            for reject in rejects
            if reject is not None and reject.dataset_id in of_these
            for alias in _aliases_of(reject.name)
        }

    def _add(self, set_name: str, name: str, image_key: str) -> None:
        levels = self._aliases.setdefault(set_name, [{} for _ in range(_LEVELS)])
        for level, alias in zip(levels, _aliases_of(name), strict=True):
            level.setdefault(alias, set()).add(image_key)

    def is_rejected(self, row: TruthRow) -> bool:
        return not row.is_id and not self._rejected.isdisjoint(_keys_of(row.key))

    def image_of(self, row: TruthRow) -> str | None:
        set_name, slash, rest = row.key.partition("/")
        levels = self._aliases.get(name_key(row.set_name), [])
        named = (each[key] for key, each in zip(_keys_of(row.key), levels, strict=False) if key in each)
        found = self._by_id(row) if row.is_id else next(named, set())
        if not found and slash and not row.is_id and not row.set_name:  # SET/NAME, as an image is asked for
            return self.image_of(replace(row, key=rest, set_name=set_name))
        if len(found) > 1:
            raise ConflictError(
                f"{row.place}: {row.key!r} could mean {len(found)} different images",
                hint="give their image_id, more of the name, or the set in a column named set",
            )
        return next(iter(found), None)

    def _by_id(self, row: TruthRow) -> set[str]:
        asked = IMAGE_ID_PREFIX + row.key.lower().removeprefix(IMAGE_ID_PREFIX)
        if asked in self._ids:
            return {self._ids[asked]}
        known = self._catalog.lookup([asked]).get(asked)
        if known is not None:
            return {known} & self._members
        if len(asked) < len(IMAGE_ID_PREFIX) + MIN_DIGITS:
            return set()
        return {key for image_id, key in self._ids.items() if image_id.startswith(asked)}


def _aliases_of(name: str) -> Iterator[str]:
    """What may be written for a name, the most exact first: as it is, then as names are compared."""
    for form in (name, name_key(name)):
        folder, slash, last = form.replace("\\", "/").rpartition("/")
        yield from (form, folder + slash + id_of_name(last), last, id_of_name(last))


def _keys_of(written: str) -> tuple[str, ...]:
    """What is looked for at each level."""
    return (written,) * (_LEVELS // 2) + (name_key(written),) * (_LEVELS // 2)


def refuse_unknown(judged: Sequence[JudgedAudit], unknown: Sequence[str]) -> None:
    """Refuse labels of images that no audit they are meant for knows (``NotFoundError``)."""
    if not unknown:
        return
    shown = ", ".join(repr(key) for key in unknown[:_SHOWN])
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    what = f"audit {judged[0].short_id} does not know" if len(judged) == 1 else "none of the audits knows"
    names = ", ".join(sorted({_names(each) for each in judged}))
    subject = judged[0].audit.subject.value
    raise NotFoundError(
        f"labels of images that {what}: {shown}{more}",
        hint=f"the images judged are {subject} ones of {names}; --skip-unknown leaves such labels out",
    )


def _names(judged: JudgedAudit) -> str:
    return ", ".join(sorted({row.name for row in judged.datasets}))
