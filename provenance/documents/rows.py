"""Rows of tables: their fields are the columns of CSV files and DataFrames, too."""

from __future__ import annotations

from provenance.documents.document import Document, Word, at
from provenance.vocabulary import Membership


class VerdictRow(Document):
    """One verdict with its nearest neighbor of any role; forgotten images have no ids and names.

    An export has the images that calibrate as well: their label is ``calibration``, and they have a score alone.
    """

    subject_id: str | None
    name: str | None
    role: Word
    label: Word
    score: float | None
    s_used: float | None
    s_not_used: float | None
    s_against: float | None
    threshold: float | None
    near_threshold: bool
    nearest_id: str | None
    nearest_name: str | None
    nearest_role: Word
    nearest_similarity: float | None
    p_value: float | None
    q_value: float | None


class CopyRow(Document):
    """A generated image and one real image that it agrees with; without any the source's columns are empty.

    ``label``, ``p_value``, ``q_value`` and ``evidence`` are the image's, and stand in the first of its rows alone, that
    of its best source: as many rows have a label as there are images. What is known of a source says
    ``established_by``, empty where it is named and not established. ``extent`` is ``whole`` or ``part``, ``share`` how
    much of the generated image's structure (of a part: of its area) the source covers; of a part the boxes in both
    images follow, their edges as shares of width and height.
    """

    image_id: str | None
    name: str | None
    label: Word | None
    established_by: Word | None
    agreement: float | None
    p_value: float | None
    q_value: float | None
    source_id: str | None
    source_name: str | None
    transformation: str | None
    rank: int | None
    extent: Word | None
    share: float | None
    left: float | None
    top: float | None
    right: float | None
    bottom: float | None
    source_left: float | None
    source_top: float | None
    source_right: float | None
    source_bottom: float | None
    evidence: float | None


class MembershipRow(Document):
    """A real image and whether it was used; those that calibrate have the label ``calibration`` and no p-value.

    ``tested`` says whether the release test compares its score: by ``role`` and ``score`` of these rows the recorded
    AUC is found again. It is empty where there was no such test, or where groups have changed since.
    ``probability`` and ``best_guess`` are a bet, not a finding. ``copied_by`` is the generated image that shows it
    again, as ``copied_as`` says.
    """

    image_id: str | None
    name: str | None
    role: Word
    group: str | None
    label: Word
    score: float | None
    p_value: float | None
    q_value: float | None
    probability: float | None
    best_guess: Word | None
    group_score: float | None
    group_p_value: float | None
    group_q_value: float | None
    group_label: Word | None
    tail_p_value: float | None
    tail_q_value: float | None
    storey_q_value: float | None
    copied_by: str | None
    copied_as: Word | None
    tested: bool | None


class MetricRow(Document):
    """One figure of one part; ``low`` and ``high`` of ``chance_accuracy`` are the chance band."""

    by: Word
    value: str
    rule: Word
    n: int
    groups: int
    metric: Word
    estimate: float | None
    low: float | None
    high: float | None
    reason: str


class PlantRow(Document):
    """Plants of one kind and strength: what share was found, and what share outranks all calibration."""

    kind: Word
    strength: float
    plants: int
    groups: int
    found: int
    share: float
    low: float
    high: float
    similarity: float
    outranking: int | None
    outranking_share: float | None
    outranking_low: float | None
    outranking_high: float | None


class SweepRow(Document):
    """The rule at one alpha; the last row is that of calling every image used."""

    rule: Word
    alpha: float | None
    threshold: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    accuracy: float
    kappa: float | None
    auc: float | None
    auc_of_labels: float | None
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    best_f1: bool


class RunFileProblem(Document):
    """One mistake; ``line`` counts from 1 and is null where no line is at fault."""

    line: int | None
    mistake: Word
    message: str


class DuplicatePair(Document):
    """Two images that are duplicates, or one image in two places."""

    left_id: str = at("left", "image_id")
    left_name: str = at("left", "name")
    left_sets: tuple[str, ...] = at("left", "sets")
    left_memberships: tuple[Membership, ...] = at("left", "memberships")
    right_id: str = at("right", "image_id")
    right_name: str = at("right", "name")
    right_sets: tuple[str, ...] = at("right", "sets")
    right_memberships: tuple[Membership, ...] = at("right", "memberships")
    same_bytes: bool
    same_pixels: bool
    hash_distance: int | None
    similarity: float
    used_and_not_used: bool = at("crosses")
    real_and_generated: bool = at("is_of_both_kinds")
