"""The main job: a release against real sets -> verdicts with their evidence.

    freeze the members of every dataset -> verify their vectors -> exact neighbors -> threshold -> label
    -> verdict_digest -> one transaction

An audit sees its sets as they were when it began and says so by their digests. The same stored vectors give
the same ``verdict_digest``, whatever the engine, the order of ingest, the batch size, or how the images are
spread over sets.
"""

from provenance.audit.compare import Change, compare_audits
from provenance.audit.declaring import DeclaredPolicy, declare
from provenance.audit.explanation import ExplainedImage, can_be_explained, explain, explain_image
from provenance.audit.features import FEATURES, features_of
from provenance.audit.plan import AuditRequest
from provenance.audit.policy import Policy, PolicyChoice, policy_from_json
from provenance.audit.run import AuditReport, run_audit
from provenance.audit.scored import scored_reals
from provenance.audit.scoring import score_names
from provenance.audit.seen import outcome_words
from provenance.audit.standing import copied_words

__all__ = [
    "FEATURES",
    "AuditReport",
    "AuditRequest",
    "Change",
    "DeclaredPolicy",
    "ExplainedImage",
    "Policy",
    "PolicyChoice",
    "can_be_explained",
    "compare_audits",
    "copied_words",
    "declare",
    "explain",
    "explain_image",
    "features_of",
    "outcome_words",
    "policy_from_json",
    "run_audit",
    "score_names",
    "scored_reals",
]
