"""Comparable pixels: what an audit says of images of other sizes, and the space in which all have the release's.

A backbone resizes everything to one size, and an enlarged image stays as smooth as it was. Where generated and real
images differ in native resolution, whole-image features partly measure that.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from provenance.errors import SourceError, SpaceMismatchError
from provenance.findings import Resolutions, Weakness
from provenance.ingest import run_embed
from provenance.pace import throttled
from provenance.spaces import common_space, lacking_in, native_resolution
from provenance.vocabulary import resolution_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.audit.inputs import FrozenAudit
    from provenance.audit.rule import OnStep
    from provenance.catalog import Catalog
    from provenance.ingest import OnProgress
    from provenance.installation import Installation
    from provenance.records import Dataset
    from provenance.vocabulary import Resolution, Space

_SECONDS_BETWEEN_LINES = 10.0


def matched_space(workspace: Installation, datasets: Sequence[Dataset], wanted: str | None, on_step: OnStep) -> Space:
    """The space in which every image is first brought to the native resolution of the first dataset, the release.

    Vectors that are missing there are made from the recorded sources; where none is, no backbone is loaded.

    Raises:
        SourceError: If an image can't be read again.
        SpaceMismatchError: If the datasets share no space, or a local one was chosen.
        EmbeddingError: If the backbone of the datasets' common space can't be had.
    """
    base = common_space(workspace.catalog, datasets, wanted)
    if base.parts != 1:
        raise SpaceMismatchError(
            f"--match-resolution is for whole-image spaces; {base.backbone} gives {base.parts} parts",
            hint="a local space is made at a resolution of its own: patches-16-8@64",
        )
    space = base.matched_to(native_resolution(workspace.catalog, datasets[0]).resolution)
    embed_missing(workspace, datasets, space, "audit without --match-resolution", on_step)
    return space


def embed_missing(
    workspace: Installation, datasets: Sequence[Dataset], space: Space, way_out: str, on_step: OnStep
) -> None:
    """Give every image of some datasets its vector in a space, from the recorded sources.

    Raises:
        SourceError: If an image can't be read again; ``way_out`` says what else could be done.
        EmbeddingError: If the backbone can't be had.
    """
    lacking = [dataset for dataset in datasets if lacking_in(workspace.catalog, dataset, space)]
    if not lacking:
        return
    backbone = workspace.backbone_of(space)
    for dataset in lacking:
        on_step(f"embedding {dataset.name} in {space.backbone}, from its recorded sources")
        report = run_embed(workspace, dataset.name, backbone, _lines(dataset.name, on_step))
        if report.unreadable:
            first = report.unreadable[0]
            raise SourceError(
                f"{len(report.unreadable):,} images of {dataset.name} can't be read again, and have no vector in "
                f"{space.backbone}; the first: {first.name}: {first.detail}",
                hint="if the files were moved: provenance relocate OLD NEW; what is gone for good can be taken "
                f"out with `provenance sets forget`; or {way_out}",
            )


def _lines(name: str, on_step: OnStep) -> OnProgress:
    say = throttled(on_step, _SECONDS_BETWEEN_LINES)
    return lambda progress: say(f"{name}: {progress.done:,} of {progress.total:,} images")


def resolutions_of(catalog: Catalog, frozen: FrozenAudit) -> Resolutions:
    """What an audit records of it: native sizes by role, and the size that all were brought to."""
    matched = frozen.space.matched_resolution
    release = _named(catalog.native_resolutions(frozen.release.dataset.dataset_id))
    return Resolutions(resolution_name(matched) if matched else None, release, _named(_sizes_of_reals(catalog, frozen)))


def resolution_notes(catalog: Catalog, frozen: FrozenAudit) -> list[str]:
    """What a person should know of it, whole sets taken as they are on record.

    A local space states a size itself, and so does one of grey levels.
    """
    if frozen.space.parts > 1 or frozen.space.is_of_pixels:
        return []
    native = native_resolution(catalog, frozen.release.dataset)
    size = _pixels(native.resolution)
    notes: list[str] = []
    if frozen.space.matched_resolution is not None:
        notes.append(
            f"Every image was first brought to {_pixels(frozen.space.matched_resolution)} pixels, so that all are "
            "compared at one resolution."
        )
        if native.others:
            said = (
                f"{native.others:,} of {native.total:,} generated images are not {size}, the release's most frequent "
                "size."
            )
            notes.append(Weakness(said))
        return notes
    reals = _sizes_of_reals(catalog, frozen)
    other = sum(reals.values()) - reals[native.resolution]
    if other:
        most = _pixels(min(reals, key=lambda each: (-reals[each], each)))
        said = (
            f"The generated images are {size} pixels ({native.total - native.others:,} of {native.total:,}), and "
            f"{other:,} of {sum(reals.values()):,} real ones are not (most frequent: {most}): whole-image features "
            f"partly measure resolution. --match-resolution brings every image to {size} first, in a space of its own."
        )
        notes.append(Weakness(said))
    return notes


def _sizes_of_reals(catalog: Catalog, frozen: FrozenAudit) -> Counter[Resolution]:
    sizes: Counter[Resolution] = Counter()
    for each in frozen.sets:
        sizes.update(catalog.native_resolutions(each.dataset.dataset_id))
    return sizes


def _named(sizes: dict[Resolution, int]) -> dict[str, int]:
    """The ten most frequent sizes and the count of all others: there may be as many as images."""
    ranked = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    listed = {_pixels(size): count for size, count in ranked[:10]}
    rest = sum(count for _, count in ranked[10:])
    return listed | ({"other": rest} if rest else {})


def _pixels(resolution: Resolution) -> str:
    return f"{resolution[0]}x{resolution[1]}"
