"""The Python API: a workspace whose verbs are the command line's, and whose tables are pandas DataFrames.

    with Workspace.open(".provenance") as ws:
        ws.ingest("./generated", release="gan-v2", generator="chest-gan")
        report = ws.audit("gan-v2", used=["chest-used"], not_used=["chest-not-used"])
        ws.verdicts(report).sort_values("score", ascending=False).head()

Similarities, scores and thresholds are cosines (no unit, -1 to 1; higher is closer); times are UTC; sizes are bytes.
Every method raises ``ProvenanceError``'s subclasses alone: each has ``message``, ``hint`` and ``exit_code``.
"""

from typing import TYPE_CHECKING

from provenance.files import answering, figure_format, require_free
from provenance.service.auditing import Auditing
from provenance.service.files import check_run, checked_run, read_embeddings
from provenance.service.ingesting import Ingesting
from provenance.service.keeping import Keeping
from provenance.service.measuring import Measuring
from provenance.service.questions import Questions
from provenance.service.results import SensitivityResult
from provenance.service.words import membership_of, rule_of

if TYPE_CHECKING:  # what the verbs give
    from provenance.audit import AuditReport as AuditReport
    from provenance.audit import Change as Change
    from provenance.audit import DeclaredPolicy as DeclaredPolicy
    from provenance.audit import ExplainedImage as ExplainedImage
    from provenance.exports import RunFile as RunFile
    from provenance.ingest import OnProgress as OnProgress
    from provenance.ingest import Progress as Progress
    from provenance.lookup import ImageView as ImageView
    from provenance.lookup import RecordedAudit as RecordedAudit
    from provenance.records import AuditRecord as AuditRecord
    from provenance.records import SensitivityRecord as SensitivityRecord
    from provenance.sensitivity import SensitivityReport as SensitivityReport
    from provenance.service.backbones import BackboneChoice as BackboneChoice
    from provenance.truth import ComparedAudits as ComparedAudits
    from provenance.truth import EvaluatedAudit as EvaluatedAudit
    from provenance.truth import EvaluatedPart as EvaluatedPart
    from provenance.truth import EvaluationReport as EvaluationReport
    from provenance.truth import FitReport as FitReport

__all__ = [
    "SensitivityResult",
    "Workspace",
    "answering",
    "check_run",
    "checked_run",
    "figure_format",
    "membership_of",
    "read_embeddings",
    "require_free",
    "rule_of",
]


class Workspace(Ingesting, Questions, Auditing, Measuring, Keeping):
    """Settings, catalog and index of one installation, and everything that is done with them.

    ``Workspace.create(folder, **settings)`` makes one, ``Workspace.open(folder, **settings)`` opens it; use it in a
    ``with`` block. Settings are those of the README's table.

    A verb's arguments are plain: names, paths, numbers, and words as the command line has them. Where ``on_progress``,
    ``on_step`` or ``stop`` is an argument, who calls it may show how far it is, and end it in between.
    """
