"""The backbone of a call: by name, by file, or already loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from provenance.spaces import native_resolution
from provenance.vocabulary import DatasetKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.embedding import Backbone
    from provenance.installation import Installation
    from provenance.service.words import OnStep, Place


class BackboneChoice(TypedDict, total=False):
    """How a call names its backbone; what is absent or ``None`` is as the settings say.

    Attributes:
        backbone: Name, or a loaded one (``load_backbone``) to use for several calls.
        backbone_file: ONNX or TorchScript file.
        trust_backbone_file: Whether a TorchScript file may run: it is a program, which does what it likes.
        weights: Weights file.
        parts: Local space of a backbone file: ``map/7``, ``tokens`` or ``all-tokens``.
        match_resolution: A release: every image is brought to its native resolution first, a space of its own.
        grey_range: ``LOW:HIGH``, the range of grey of more than 8 bits whose files declare none: one for the whole
            workspace, stated before anything is in it. ``full``: that of the type, however few levels are left.
        window: Window of grey DICOM: a name (lung, mediastinum, abdomen, bone, brain), ``CENTER,WIDTH``, or ``file``:
            each file's own. One for the workspace likewise.
    """

    backbone: str | Backbone | None
    backbone_file: Place | None
    trust_backbone_file: bool
    weights: Place | None
    parts: str | None
    match_resolution: str | None
    grey_range: str | None
    window: str | None


def chosen_backbone(
    workspace: Installation, on_step: OnStep | None = None, **choice: Unpack[BackboneChoice]
) -> Backbone:
    """The backbone of a call; a download of its weights says how far it is, each tenth.

    Raises:
        WeightsError: If its weights can't be had.
        NotFoundError: If there is no such release, or it holds no image.
    """
    workspace.state_grey_range(choice.get("grey_range"))
    workspace.state_window(choice.get("window"))
    named, release = choice.get("backbone"), choice.get("match_resolution")
    resolution = None
    if release is not None:
        dataset = workspace.catalog.dataset(release, DatasetKind.RELEASE)
        resolution = native_resolution(workspace.catalog, dataset).resolution
    if named is None or isinstance(named, str):
        on_progress = None if on_step is None else _tenths(on_step)
        return workspace.load_backbone(**words_of(choice), match_resolution=resolution, on_progress=on_progress)
    named = named.decoding(workspace.canonical)
    return named if resolution is None else named.at_resolution(resolution)


def backbone_for_file(
    workspace: Installation, space: str | None, on_step: OnStep | None, **choice: Unpack[BackboneChoice]
) -> Backbone:
    """The chosen backbone; otherwise that of the chosen space, or of the only space on record, or of the settings."""
    if choice.get("backbone") is None and choice.get("backbone_file") is None:
        catalog = workspace.catalog
        held = {collection.space_id for collection in catalog.live_collections()}
        known = [s for s in catalog.spaces() if s.space_id in held] if space is None else [catalog.space(space)]
        if len(known) == 1 and not known[0].is_of_file:
            choice["backbone"] = known[0].backbone
    return chosen_backbone(workspace, on_step, **choice)


def words_of(choice: BackboneChoice) -> dict[str, Any]:
    """What a call says of its backbone, as ``load_backbone`` takes it."""
    given = {**choice, "name": choice.get("backbone")}
    words = ("name", "backbone_file", "trust_backbone_file", "weights", "parts")
    return {word: given[word] for word in words if given.get(word) not in (None, False)}


def _tenths(on_step: OnStep) -> Callable[[int, int | None], None]:
    said = 0

    def show(done: int, total: int | None) -> None:
        nonlocal said
        if total and done * 10 // total > said:
            said = done * 10 // total
            on_step(f"downloading weights: {said * 10} % of {total / 1e6:.0f} MB")

    return show
