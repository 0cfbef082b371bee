"""Why a local score is high: which positions of an image, and which generated parts, speak for its use.

Nothing of it is stored. It is computed again from the stored vectors, which must still be those that the audit saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from provenance.audit.evidence import Vectors
from provenance.audit.plan import planned_again
from provenance.audit.rules import rule_named
from provenance.audit.scoring import score_reals
from provenance.audit.searching import selections_of
from provenance.brief import Brief
from provenance.detection.scores.local_neighbors import speaking_parts
from provenance.errors import ConflictError, NotFoundError, SpaceMismatchError, UsageError
from provenance.records import Explanation, SpeakingPosition
from provenance.spaces import grid_of
from provenance.vocabulary import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.audit.rule import OnStep
    from provenance.installation import Installation
    from provenance.records import AuditRecord


@dataclass(frozen=True, slots=True, repr=False)
class ExplainedImage(Brief):
    """What speaks for an image's use, by the audit that judged it last; ``names`` of generated images by image_key."""

    audit_id: str
    explanation: Explanation
    names: Mapping[str, str]


def can_be_explained(audit: AuditRecord) -> bool:
    """Whether an audit judged by a local score."""
    return rule_named(audit.rule).local_score(audit) is not None


def explain(
    workspace: Installation, audit: AuditRecord, image_keys: Sequence[str], on_step: OnStep | None = None
) -> dict[str, Explanation]:
    """Explain some judged images of an audit, by image_key; those that it did not judge are left out.

    Raises:
        UsageError: If the audit did not judge by a local score.
        ConflictError: If release or sets hold other images than the audit saw.
        VectorStoreError: If a stored vector is missing or damaged.
    """
    if not can_be_explained(audit):
        raise UsageError(
            f"audit {audit.audit_id[:8]} did not judge by a local score, which alone speaks position by position"
        )
    on_step = on_step or (lambda _step: None)
    frozen = planned_again(workspace, audit, on_step).frozen
    rows = {member.image_key: row for row, member in enumerate(frozen.judged_reals) if member.image_key in image_keys}
    if not rows:
        return {}
    parameters = workspace.catalog.policy(audit.policy_id).parameters
    inputs = Vectors(workspace, frozen.space, selections_of(frozen), on_step).scoring_inputs(frozen)
    name = str(parameters["score"])
    scored = score_reals(name, inputs, k=int(parameters.get("k", parameters["top_k"])))
    assert scored.copies is not None, "the score is a local one, or learnt"
    chosen = np.array(list(rows.values()), dtype=np.int64)
    if scored.learnt is not None:
        boxes, columns, contributions, speaking = scored.learnt.explained(chosen)
    else:
        assert scored.contributions is not None, "the score is a local one"
        contributions, speaking = scored.contributions, speaking_parts(inputs.pool, inputs.release, chosen)
        boxes, grid = grid_of(frozen.space), frozen.space.preprocessing.get("grid") or {"rows": 0, "columns": 0}
        columns = int(grid["columns"]) if grid["rows"] * grid["columns"] == frozen.space.parts else 0
    found = {}
    for place, (key, row) in enumerate(rows.items()):
        positions = tuple(
            SpeakingPosition(box, value, frozen.release.members[generated], similarity)
            for box, value, generated, similarity in zip(
                boxes,
                contributions[row].tolist(),
                speaking.release_row[place].tolist(),
                speaking.similarity[place].tolist(),
                strict=True,
            )
        )
        copy = float(scored.copies[row])
        found[key] = Explanation(key, name, float(scored.scores[row]), copy, positions, columns)
    return found


def explain_image(
    workspace: Installation, image_key: str, on_step: OnStep | None = None, audit_id: str | None = None
) -> ExplainedImage | None:
    """Why a verdict on a real image by a local score is what it is; ``None`` where there is no such verdict.

    It is that of an audit, or of an answer of it; without one the latest. Nor is anything explained where stored
    vectors are not those that the audit saw: ``on_step`` is told why.
    """
    catalog, say = workspace.catalog, on_step or (lambda _step: None)
    about = sorted(catalog.verdicts_about(image_key), key=lambda verdict: verdict.audited_at, reverse=True)
    if audit_id is not None:
        asked = catalog.audit(audit_id).audit_id
        theirs = {asked, *(part.audit_id for part in catalog.parts_of(asked).values())}
        about = [verdict for verdict in about if verdict.audit_id in theirs]
    audits = (catalog.audit(verdict.audit_id) for verdict in about if verdict.subject is Subject.REAL)
    audit = next((audit for audit in audits if can_be_explained(audit)), None)
    if audit is None:
        what = "no audit" if audit_id is None else f"audit {audit_id[:8]}"
        say(f"nothing to explain: {what} has judged this image by a score of its positions")
        return None
    say(f"audit {audit.audit_id[:8]}: finding out which positions speak for this image, from the stored vectors")
    try:
        explanation = explain(workspace, audit, [image_key]).get(image_key)
    except (ConflictError, NotFoundError, SpaceMismatchError) as error:
        say(f"not explained: {error.message}")
        return None
    if explanation is None:
        return None
    keys = sorted({position.generated.image_key for position in explanation.positions})
    return ExplainedImage(audit.audit_id, explanation, catalog.names_of([audit.dataset_id], keys))
