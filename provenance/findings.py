"""What an audit found beside its verdicts: frozen values, and the one reader and writer of their JSON.

``Findings`` is what audits by any rule record; what a rule records beside stands among it in the JSON, and is ``own``
here. A rule that joins writes its own findings as a ``JsonValue`` and reads them by ``own_as``. A record is written
again as it was read: keys that it lacks stay out, and keys that are not known here stay in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

from provenance.brief import Brief
from provenance.errors import UsageError
from provenance.vocabulary import DEFAULT_RESAMPLES, Evidence, Outcome, Search

Kind = TypeVar("Kind", bound="JsonValue")


_SEARCHED_IN = {
    Search.FILE: "verified vector files (exact)",
    Search.SERVER: "the vector index, by its server (exact), and verified vectors of what it found",
}

UNNAMED = "By the score alone, no single image can be named, because"
"""How the sentence begins that stands where a release leaks, and no image is established."""

LEFT_OUT = {"left_out": True}
"""Metadata of a field that is not written where it is ``None``."""


class JsonValue:
    """A frozen value with its JSON: an object with the fields' names (or their ``key``) as keys."""

    __slots__ = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The value that was written so. Fields that are not there have their defaults; other keys are passed over."""
        kind: Any = cls
        return cls(**{name: _read(hint, values[key]) for name, key, hint in _layout(kind) if key in values})

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        written = {}
        for each in fields(self):  # type: ignore[arg-type]  # every kind is a dataclass
            value = getattr(self, each.name)
            if value is not None or "left_out" not in each.metadata:
                written[each.metadata.get("key", each.name)] = _written(value)
        return written


@cache
def _layout(kind: Any) -> tuple[tuple[str, str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((each.name, each.metadata.get("key", each.name), hints[each.name]) for each in fields(kind))


def _read(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        return tuple(_read(inner[0], each) for each in value)
    if origin is Mapping:
        return {name: _read(inner[1], each) for name, each in value.items()}
    if inner:  # one of several: the first kind that has all it needs
        kinds = [each for each in inner if each is not NoneType]
        return _read(next((kind for kind in kinds if _fits(kind, value)), kinds[0]), value)
    if isinstance(hint, type) and issubclass(hint, JsonValue):
        return hint.from_json(value)
    return hint(value) if isinstance(hint, type) and issubclass(hint, Enum) else value


def _fits(kind: Any, value: Any) -> bool:
    needed = (each.name for each in fields(kind) if each.default is MISSING) if is_dataclass(kind) else ()
    return all(name in value for name in needed)


def misfit(hint: Any, value: Any, place: str = "") -> str:
    """The place in recorded JSON where it is not of the type that its reader expects; empty: it is throughout."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or (value is None and NoneType in inner):
        return ""
    if origin is tuple or origin is Mapping:
        if not isinstance(value, list if origin is tuple else dict):
            return place or "root"
        children: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        item = inner[0] if origin is tuple else inner[1]
        return next(filter(None, (misfit(item, each, f"{place}.{name}") for name, each in children)), "")
    if inner:
        kinds = [each for each in inner if each is not NoneType]
        return min((misfit(kind, value, place) for kind in kinds), key=len)
    if isinstance(hint, type) and is_dataclass(hint):
        return _misfit_of_value(hint, value, place)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "" if value in [each.value for each in hint] else place
    kinds_of = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}.get(hint, (object,))
    return "" if isinstance(value, kinds_of) and (hint is bool or type(value) is not bool) else place


def _misfit_of_value(kind: Any, value: Any, place: str) -> str:
    if not isinstance(value, dict):
        return place or "root"
    has_default = {each.name: (each.default, each.default_factory) != (MISSING, MISSING) for each in fields(kind)}
    for name, key, hint in _layout(kind):
        if name != "own" and key in value:
            if wrong := misfit(hint, value[key], f"{place}.{key}"):
                return wrong
        elif not has_default[name]:
            return f"{place}.{key}"
    return ""


def _written(value: Any) -> Any:
    if isinstance(value, JsonValue):
        return value.to_json()
    if is_dataclass(value):
        return {each.name: _written(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {name: _written(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_written(each) for each in value]
    return value.value if isinstance(value, Enum) else value


@dataclass(frozen=True, slots=True)
class Euclidean(JsonValue):
    """Euclidean distance beside cosine.

    Attributes:
        nearest: Cases (a subject and a role) with two recorded neighbors or more.
        same_nearest: Those in which the nearest one is the same for certain.
        tied: Those in which the two closest are equally near up to rounding.
        labels: Images labelled by distances as well; ``None`` where nothing was.
        same_label: Those whose label stays.
    """

    nearest: int
    same_nearest: int
    tied: int
    labels: int | None = field(default=None, metadata=LEFT_OUT)
    same_label: int | None = field(default=None, metadata=LEFT_OUT)

    @property
    def sentence(self) -> str:
        """What it says, in words; '' where it says nothing."""
        words = []
        if self.nearest:
            tied = f", {self.tied:,} tied by both" if self.tied else ""
            words.append(f"the same nearest neighbor in {self.same_nearest:,} of {self.nearest:,} cases{tied}")
        if self.labels is not None:
            words.append(f"the same label for {self.same_label:,} of {self.labels:,} images")
        return "; ".join(words)


@dataclass(frozen=True, slots=True)
class Twins(JsonValue):
    """How near-twins were looked for, and whether the not-used ones among them were left out (their ids by digest).

    ``turned``: also mirrored and turned ones, and among images of unknown use; ``None`` in older records: neither.
    """

    evidence: Evidence
    hash: str
    hash_distance: int
    min_similarity: float
    excluded: bool
    images_digest: str
    unhashed: int
    turned: bool | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, slots=True)
class Resolutions(JsonValue):
    """Images by native size, such as ``256x256``, and the size that all were brought to (``None``: none)."""

    matched: str | None
    release: Mapping[str, int]
    reals: Mapping[str, int]


@dataclass(frozen=True, slots=True, repr=False)
class Findings(JsonValue, Brief):
    """What an audit found beside its verdicts.

    Attributes:
        search: How neighbors were found.
        index: The kind of index that was searched.
        searched: Where: ``file``, in vector files that are copied and verified once, or ``server``; ``None`` in older
            records. The verdicts are the same.
        outcome: The conclusion for the release; ``None`` for rules without one.
        outcome_reason: Why, in a sentence or two; ``None`` likewise.
        own: What its rule found beside, as JSON values: read by ``own_as``.
        twins: ``None`` where there was nothing to look for.
        notes: What a reader should know, in plain language: first what weakens a finding; ``None`` in records of before
            they were kept.
        weakening: How many of the notes weaken a finding; ``None`` likewise.
        read_consistency: What the replicas of a server were asked to agree on by reads, at the least: ``majority``,
            ``quorum`` (of those that are there) or ``any``; ``None`` where none was read.
        recorded: The JSON that it was read from.
    """

    search: str = "exact"
    index: str = "vector"
    searched: Search | None = field(default=None, metadata=LEFT_OUT)
    euclidean: Euclidean | None = field(default=None, metadata=LEFT_OUT)
    outcome: Outcome | None = field(default=None, metadata=LEFT_OUT)
    outcome_reason: str | None = field(default=None, metadata=LEFT_OUT)
    own: Mapping[str, Any] = field(default_factory=dict)
    twins: Twins | None = field(default=None, metadata=LEFT_OUT)
    resolution: Resolutions | None = field(default=None, metadata=LEFT_OUT)
    notes: tuple[str, ...] | None = field(default=None, metadata=LEFT_OUT)
    weakening: int | None = field(default=None, metadata=LEFT_OUT)
    read_consistency: str | None = field(default=None, metadata=LEFT_OUT)
    recorded: Mapping[str, Any] | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The findings of a record, whatever it lacks or has beside."""
        kind: Any = cls
        general = [each for each in _layout(kind) if each[0] not in ("own", "recorded")]
        own = {key: value for key, value in values.items() if key not in {key for _, key, _ in general}}
        found = cls(**{name: _read(hint, values[key]) for name, key, hint in general if key in values}, own=own)
        object.__setattr__(found, "recorded", values)
        return found

    def to_json(self) -> dict[str, Any]:
        """As the record has it: the rule's own findings stand among the others."""
        if self.recorded is not None:
            return dict(self.recorded)
        written = JsonValue.to_json(self)
        del written["recorded"]
        return {
            key: each
            for name, value in written.items()
            for key, each in (value if name == "own" else {name: value}).items()
        }

    def own_as(self, kind: type[Kind]) -> Kind:
        """The rule's own findings, for somebody who knows what that rule finds."""
        return kind.from_json(self.own)

    @property
    def searched_in(self) -> str | None:
        """Where neighbors were looked for, in words; ``None``: not on record."""
        return None if self.searched is None else _SEARCHED_IN[self.searched]

    @property
    def reference_release(self) -> ReferenceRelease | None:
        """The reference release, where one took part."""
        value = self.own.get("reference_release")
        return None if value is None else ReferenceRelease.from_json(value)

    @property
    def auc(self) -> Estimate | None:
        """Of the release test, with its interval; ``None``: there was none (of several answers, each has its own)."""
        value = (self.release_test_json or {}).get("auc")
        return None if value is None else Estimate.from_json(value)

    @property
    def release_test_json(self) -> Mapping[str, Any] | None:
        """The release test as it was recorded."""
        return self.own.get("release_test")

    @property
    def joint(self) -> JointFindings | None:
        """What an audit of several answers says beside them; ``None`` in others."""
        return self.own_as(JointFindings) if "looks" in self.own else None

    @property
    def calibrated(self) -> CalibratedFindings | None:
        """What the rule ``calibrated`` found; ``None`` in audits by another one."""
        return self.own_as(CalibratedFindings) if "calibrated" in self.own else None


class Weakness(str):
    """A note that weakens a finding: it stands before the others."""

    __slots__ = ()


def weakest_first(notes: Iterable[str]) -> tuple[tuple[str, ...], int]:
    """The notes, each once, those first that weaken a finding; and how many these are."""
    distinct = tuple(dict.fromkeys(notes))
    weak = tuple(note for note in distinct if isinstance(note, Weakness))
    return (*weak, *(note for note in distinct if not isinstance(note, Weakness))), len(weak)


@dataclass(frozen=True, slots=True)
class Statements:
    """What an audit by one rule says, in sentences, apart by what they are worth.

    Attributes:
        known: Facts, and findings with a stated error rate.
        guessed: What rests on a model, or has no error rate.
        unknown: What it could not tell.
    """

    known: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JointFindings(JsonValue):
    """What an audit of several answers says beside them.

    Attributes:
        missing: Of answers that there are not, why not, in a sentence.
        looks: How many looks at the same release there were, this one included; the same audit again is none.
        predeclared: Whether its policy was on record before any of them.
        looks_elsewhere: How many of those before it were over other sets; ``None`` in older records, where these did
            not count.
    """

    missing: Mapping[str, str] = field(default_factory=dict)
    looks: int = 1
    predeclared: bool = False
    looks_elsewhere: int | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, slots=True)
class Estimate(JsonValue):
    """A figure with its interval, or the reason why there is none.

    Attributes:
        value: ``None``: not estimable.
        low: Lower end of the interval; ``None``: the interval is not estimable.
        high: Upper end.
        reason: Why value or interval is missing, in words; empty where both are there.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        """With two decimals, and its interval in brackets where there is one."""
        if self.value is None:
            return "not estimable"
        return f"{self.value:.2f}" + ("" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]")


@dataclass(frozen=True, slots=True)
class Resampling(JsonValue):
    """How the bootstrap is run.

    Attributes:
        resamples: How many; 2,000 give the ends of a 95 % interval to about a tenth of its half-width.
        level: Coverage of the interval, such as 0.95.
        seed: Of the draws; the same seed, images and groups give the same interval.
    """

    resamples: int = DEFAULT_RESAMPLES
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise UsageError(f"a bootstrap interval needs 100 resamples or more, not {self.resamples}")
        if not 0 < self.level < 1:
            raise UsageError(f"the level of an interval lies between 0 and 1, not {self.level}")


@dataclass(frozen=True, slots=True)
class PermutationTest(JsonValue):
    """A statistic and its law when labels are permuted over groups.

    Attributes:
        value: Observed; ``None``: not estimable.
        null_mean: Mean over permutations; ``None`` likewise.
        null_low: 2.5 % quantile; ``null_high`` the 97.5 % one.
        p_value: One-sided, in (0, 1]; 1 where there is no value.
        smallest_p: The smallest p-value that so many groups and permutations can give.
        permutations: How many assignments were looked at.
        reason: Why there is no value, or no test of it; empty where there are both.
    """

    value: float | None
    null_mean: float | None = None
    null_low: float | None = None
    null_high: float | None = None
    p_value: float = 1.0
    smallest_p: float = 1.0
    permutations: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseTest(JsonValue):
    """The conclusion for a release.

    Attributes:
        outcome: leak_established, leak_not_established or inconclusive.
        reason: One or two sentences of plain language.
        auc: With its interval.
        permutation: Of the AUC.
        control: The same test against a release that saw none of the images; ``None`` without.
        members: Member images; ``non_members`` likewise.
        member_groups: Their groups; ``non_member_groups`` likewise.
        mixed_groups: Groups with images of both kinds, left out.
        level: Of the test.
        resampling: Of the interval.
        sensitivity: The sentence that goes with it; empty: not measured.
    """

    outcome: Outcome
    reason: str
    auc: Estimate
    permutation: PermutationTest
    control: PermutationTest | None
    members: int
    non_members: int
    member_groups: int
    non_member_groups: int
    mixed_groups: int
    level: float
    resampling: Resampling
    sensitivity: str = ""


@dataclass(frozen=True, slots=True)
class DataCopying(JsonValue):
    """Three statistics of copying.

    Attributes:
        attribution: Share of generated images whose nearest real is a member; p for great shares.
        c_t: Meehan's C_T; p for small values.
        auth_pct: Alaa's AuthPct as a share in [0, 1]; p for small values.
        hubs: How many reals are the nearest of half of the generated images.
        truncated: Share of nearest lists without a member in the observed labelling: their last place stands in.
        mixed_groups: Groups with members and others: permuted image by image is not allowed, so there is no test.
    """

    attribution: PermutationTest
    c_t: PermutationTest
    auth_pct: PermutationTest
    hubs: int
    truncated: float
    mixed_groups: int


@dataclass(frozen=True, slots=True)
class NotComputed(JsonValue):
    """Why there are no such figures."""

    reason: str


@dataclass(frozen=True, slots=True)
class ShiftTest(JsonValue):
    """One property. ``p_value`` as the test gives it, ``p_corrected`` by Holm over all that were compared.

    Attributes:
        effect: How far the two are apart, 0 to 1; ``None`` in older records.
        gross: Whether nothing follows from a comparison of the two (``provenance.detection.calibrated.shift``).
    """

    name: str
    p_value: float
    p_corrected: float
    detail: str
    effect: float | None = field(default=None, metadata=LEFT_OUT)
    gross: bool | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, slots=True)
class ShiftCheck(JsonValue):
    """All properties that were compared, and a sentence for each that differs (``p_corrected`` <= level)."""

    tests: tuple[ShiftTest, ...]
    level: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family(JsonValue):
    """The figures of images that were judged together by p-values.

    Attributes:
        score: The membership score that they were judged by, stated once for all families.
        q: The level of the false discovery rate.
        subject_groups: m.
        calibration_groups: G, after shared groups were left out.
        k_min: How many subject groups must outrank all calibration before any can be rejected; may exceed m.
        sufficient_groups: Calibration groups with which a single subject group can be rejected.
        established_groups: How many subject groups are rejected.
        reason: Why the labels are what they are, one or two sentences.
        warnings: What weakens the p-values, as sentences.
        established: How many images are established.
        outranking_groups: How many subject groups outrank all calibration: with none, more calibration groups alone
            would not establish one. ``None`` in older records.
    """

    score: str | None = field(default=None, kw_only=True, metadata=LEFT_OUT)
    q: float
    subject_groups: int
    calibration_groups: int
    k_min: int
    sufficient_groups: int
    established_groups: int
    reason: str
    warnings: tuple[str, ...]
    established: int
    outranking_groups: int | None = field(default=None, kw_only=True, metadata=LEFT_OUT)

    @property
    def more_groups(self) -> str:
        """With how many calibration groups a single one could be established, or that more alone would not help."""
        if self.outranking_groups == 0:
            return "none outranks all calibration, so that more calibration groups alone would not show one"
        return f"{self.sufficient_groups:,} calibration groups would do for one alone"


@dataclass(frozen=True, slots=True)
class CalibratedFigures(Family):
    """The figures of the family that the question is about, with labels' reason and warnings of all.

    Attributes:
        families: Of each claim by its role; ``None`` in older records, and of generated images.
        closeness: Of generated images, by closeness to the used ones alone.
        control: Of generated images, the same test against images that were not used.
        audits_served: How many audits had these calibration images.
        guarantee: What the error rate is an average over, in plain language.
    """

    families: Mapping[str, Family] | None = field(default=None, metadata=LEFT_OUT)
    closeness: Family | None = field(default=None, metadata=LEFT_OUT)
    control: Family | None = field(default=None, metadata=LEFT_OUT)
    audits_served: int = 1
    guarantee: str = ""


@dataclass(frozen=True, slots=True)
class ChanceBand(JsonValue):
    """What accuracy a guess would have: exact binomial, n independent images.

    Attributes:
        chance: Accuracy of always calling the more frequent class: max(share used, 1 - share used).
        low: Lower end of the central band of a guesser's accuracy, ``high`` the upper one; an accuracy within is no
            better than guessing.
        p_value: P(a guesser is right as often or more often), one-sided.
        independent: Whether every image is a group of its own. If not, the images of a group stand or fall
            together, and the true band is wider.
    """

    chance: float
    low: float
    high: float
    p_value: float
    independent: bool


@dataclass(frozen=True, slots=True)
class CurveBin(JsonValue):
    """Known images whose probability lies in one bin.

    Attributes:
        low: Edge of the bin, which holds it; ``high`` the upper one, which the last bin alone holds.
        used: How many were used; ``not_used`` likewise.
        probability: Their mean probability, the kinds weighed as the prior says.
        share: Of them the share that was used, weighed likewise; near ``probability`` where it is well calibrated.
    """

    low: float
    high: float
    used: int
    not_used: int
    probability: float
    share: float


EVEN_PRIOR = 0.5
"""The prior that says nothing beforehand."""


@dataclass(frozen=True, slots=True)
class GuessFigures(JsonValue):
    """How good the best guess is on an audit's own known images, each guessed without its group, and how it was learnt.

    Attributes:
        prior: Share of the judged images that was used, as stated beforehand.
        folds: Into which whole groups were put.
        intercept: a of the log odds at a prior of one half, a + b score, by all known images; ``slope`` is b.
        used: Known images that were used, ``not_used`` the others; their groups likewise.
        accuracy: Share guessed right; kappa, AUC and the share found at 1 % false positives likewise, each with a 95 %
            interval by group: of what it is on as many other groups as ``foreseen_groups``; 0: of the figure alone.
        brier: Mean squared error of the probability, the kinds weighed as the prior says; 0 is perfect, 0.25 what one
            half for everybody has.
        chance_band: What accuracy a guesser would have; ``None`` with one class only.
        calibration_curve: The bins that hold images, ascending.
        guessed: How many of the images of each claim are guessed used, by role; known not-used ones too.
        caution: Why the guess may rest on something else than use; empty: nothing is known to speak against it.
        better_than_chance: Whether the interval of kappa itself lies above 0, which chance has.
        established_not_used: How many established images it calls not used.
        foreseen_groups: How many groups of unknown use there are, for which the intervals hold.
    """

    prior: float
    used: int
    not_used: int
    used_groups: int
    not_used_groups: int
    accuracy: Estimate
    kappa: Estimate
    auc: Estimate
    tpr_at_1_percent_fpr: Estimate
    brier: Estimate
    chance_band: ChanceBand | None
    calibration_curve: tuple[CurveBin, ...]
    resampling: Resampling
    folds: int = 0
    intercept: float = 0.0
    slope: float = 0.0
    guessed: Mapping[str, int] = field(default_factory=dict)
    caution: str = ""
    better_than_chance: bool = False
    foreseen_groups: int = 0
    established_not_used: int = 0

    @property
    def sentence(self) -> str:
        """How good it is: first of all whether it is any better than chance, and that it is a bet."""
        words, band = [], self.chance_band
        if not self.better_than_chance:
            words.append("The best guess is no better than chance here: don't go by it.")
        chance = "" if band is None else f" (guessing blindly: {band.chance:.2f}, up to {band.high:.2f})"
        foreseen = " (95 % intervals for as many images as are of unknown use)" if self.foreseen_groups else ""
        words.append(
            f"A bet, not a finding: on the {self.used + self.not_used:,} known images{self._share_used}, each guessed "
            f"without its group, it hits {self.accuracy.words}{chance}, kappa {self.kappa.words}{foreseen}."
        )
        return " ".join(filter(None, (*words, self._beside_findings, self.caution)))

    @property
    def _share_used(self) -> str:
        # Where the prior is another, accuracy on the known images is not that on the unknown ones.
        if self.prior == EVEN_PRIOR:
            return ""
        return f", of which {100 * self.used / (self.used + self.not_used):.0f} % were used (prior {self.prior:g})"

    @property
    def _beside_findings(self) -> str:
        if not (count := self.established_not_used):
            return ""
        images = "1 established image is" if count == 1 else f"{count:,} established images are"
        return f"{images} bet on as not used: the finding stands, the bet is a bet at prior {self.prior:g}."


@dataclass(frozen=True, slots=True)
class GroupFigures(JsonValue):
    """How groups were judged as subjects.

    Attributes:
        score: ``mean`` or ``best``: what stands for a group.
        families: Of each claim by its role, groups in the place of images.
        warning: Where judged and calibration groups differ in size; empty: they don't.
    """

    score: str
    families: Mapping[str, Family]
    warning: str = ""

    @property
    def sentence(self) -> str:
        """How many groups are established, claim by claim."""
        claims = {"used": "claimed used", "against": "of unknown use"}
        said = [
            f"{each.established_groups:,} of {each.subject_groups:,} groups {claims[role]}"
            for role, each in self.families.items()
        ]
        return f"By patient or study: {' and '.join(said)} are established."


@dataclass(frozen=True, slots=True)
class OtherMeans(JsonValue):
    """What other means than the strict ones would establish in one claim, at the same level.

    Attributes:
        tail: Images, by the model of the tail; ``None`` where it is refused.
        storey: Images, with the estimated share of nulls.
        null_share: pi0, of the claim's groups.
    """

    tail: int | None
    storey: int
    null_share: float


@dataclass(frozen=True, slots=True)
class ReferenceRelease(JsonValue):
    """The release of a generator that saw other images, as it was."""

    name: str
    dataset_id: str
    digest: str
    image_count: int


@dataclass(frozen=True, slots=True)
class SetsTest(JsonValue):
    """How well images claimed used and images never used are told apart by what has not seen the release.

    Attributes:
        name: What they were told apart by: ``texture`` or ``pixels``.
        auc: Of cross-fitted scores.
        p_value: By permutation of labels over groups, learning again.
        p_corrected: By Holm over all that was looked at.
    """

    name: str
    auc: float
    p_value: float
    p_corrected: float


@dataclass(frozen=True, slots=True)
class LearntFigures(JsonValue):
    """What the score ``learnt`` learnt, and whether the sets differ by themselves.

    Attributes:
        used_groups: That it learnt from; ``not_used_groups`` likewise.
        sizes: Of patches, in pixels of 64.
        widths: Of kernels, the broadest first.
        weights: By size and width, of columns that are normal scores.
        nearest: Of the nearest generated patches, by size.
        where: What each of 8 x 8 cells speaks for use, mean over some images, in standard deviations.
        images: How many: those with the highest scores.
        sets: How well the two sets are told apart without any release.
        excess: By how much the AUC against the release exceeds the greatest of theirs, and the test of that.
        difference: What tells them apart so, in a sentence; empty: nothing that was looked at.
    """

    used_groups: int
    not_used_groups: int
    sizes: tuple[int, ...]
    widths: tuple[float, ...]
    weights: tuple[tuple[float, ...], ...]
    nearest: tuple[float, ...]
    where: tuple[tuple[float, ...], ...]
    images: int
    sets: tuple[SetsTest, ...]
    excess: PermutationTest
    difference: str

    @property
    def sentence(self) -> str:
        """What it learnt from, what spoke most, and whether the sets differ without any release, in one line."""
        scales = [
            (weight, size, width)
            for size, row in zip(self.sizes, self.weights, strict=True)
            for width, weight in zip(self.widths, row, strict=True)
        ]
        _, size, width = max(scales)
        apart = ", ".join(f"{test.name} AUC {test.auc:.2f}, p = {test.p_corrected:.2g}" for test in self.sets)
        differ = "differ" if self.difference else "are not seen to differ in the direction of a leak"
        return (
            f"from {self.used_groups:,} used and {self.not_used_groups:,} never-used groups; most weight on patches of "
            f"{size} pixels, kernel width {width:g}; without any release the sets {differ} ({apart})"
        )


@dataclass(frozen=True, slots=True)
class TailFigures(JsonValue):
    """The model of the highest calibration scores (``provenance.detection.copies.tail``).

    Attributes:
        refused: Why it may not speak; empty: it may.
        threshold: Above which it speaks; ``None`` where it is refused, like all that follows.
        excesses: Of the calibration groups above it, ascending.
        shape: Of the generalised Pareto distribution fitted to them.
        mean_excess: Of the exponential distribution.
        fit_p: Of the Anderson-Darling test; small: it doesn't fit.
    """

    refused: str
    threshold: float | None = None
    excesses: tuple[float, ...] = ()
    shape: float | None = None
    mean_excess: float | None = None
    fit_p: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CalibratedFindings(JsonValue, Brief):
    """What the rule ``calibrated`` finds beside the outcome.

    Attributes:
        release_test: ``None`` where there are no claimed members to compare.
        data_copying: Likewise.
        calibration: How p-values came about.
        shift: Whether calibration and subjects look alike.
        guess: How good the best guess is, or why there is none; ``None`` in records of before there was one.
        groups: How groups were judged; ``None`` where each is a single image, and in older records.
        tail: The model of the highest calibration scores; ``None`` in older records.
        other_means: What other means than the strict ones find, of each claim by its role; likewise.
        learnt: What the score learnt, where it is one that learns.
        sensitivity: Always ``None``: it is measured later, and recorded by itself.
        doubt: Why nothing follows from any score, in a sentence: a gross shift, twins, sets that differ by themselves;
            ``None``: nothing says so.
        doubt_of_unknown: The same of images of unknown use alone.
    """

    release_test: ReleaseTest | None = field(default=None, metadata=LEFT_OUT)
    data_copying: DataCopying | NotComputed | None = field(default=None, metadata=LEFT_OUT)
    calibration: CalibratedFigures = field(kw_only=True, metadata={"key": "calibrated"})
    reference_release: ReferenceRelease | None = field(default=None, metadata=LEFT_OUT)
    shift: ShiftCheck = ShiftCheck((), 0.05, ())
    sensitivity: None = None
    guess: GuessFigures | NotComputed | None = field(default=None, metadata=LEFT_OUT)
    groups: GroupFigures | None = field(default=None, metadata=LEFT_OUT)
    tail: TailFigures | None = field(default=None, metadata=LEFT_OUT)
    other_means: Mapping[str, OtherMeans] | None = field(default=None, metadata=LEFT_OUT)
    learnt: LearntFigures | None = field(default=None, metadata=LEFT_OUT)
    doubt: str | None = field(default=None, metadata=LEFT_OUT)
    doubt_of_unknown: str | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True, slots=True)
class FalseMatchRate(JsonValue):
    """How often real images of different groups have as much evidence for one another.

    Attributes:
        threshold: The evidence: the least of those called copies by it, or what would have been called one.
        value: Share of the groups.
        upper: Its one-sided 95 % bound (Clopper and Pearson).
        groups: How many were held against others.
        twins: Images beyond the bound of near-twins, which are left out.
    """

    threshold: float
    value: float
    upper: float
    groups: int
    twins: int


@dataclass(frozen=True, slots=True)
class CopyCalibration(JsonValue):
    """What agreement was held against.

    Attributes:
        never_used: By images known not to be used; else by real ones against those of other groups (impostors).
        images: How many were searched.
        groups: That calibrate.
        twins_known: Images left out as near-twins of a candidate by hash and embedding.
        twins_by_score: Others left out because they agree as only a near-twin does.
        twins_mirrored: Of those, how many match mirrored; ``None`` in audits that did not tell.
        sufficient_groups: With which a single copy among so many images would be established without a model.
        tail: The model for what lies beyond all of them.
    """

    never_used: bool
    images: int
    groups: int
    twins_known: int
    twins_by_score: int
    sufficient_groups: int
    tail: TailFigures
    twins_mirrored: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CopiesFindings(JsonValue, Brief):
    """What the rule ``copies`` finds beside labels and outcome.

    Attributes:
        q: Level of the false discovery rate of copies, and of part copies.
        established: Images by how they are known to be copies, or part copies.
        featureless: Generated images that show nothing and are the same as a real one that shows nothing: no copies.
        of_not_used: Copies whose source is claimed not to have been used.
        ambiguous: Copies whose best source of another group agrees nearly as well.
        whole: How wholes were calibrated; ``None``: by nothing.
        part: How pieces were; likewise.
        false_match_rate: ``None`` where there are no impostors.
        pixels_space: The ``space_id`` of the grey levels that were compared.
        guarantee: What its statements are worth, in plain language.
        unlike: Why never-used images that there are do not calibrate, in a sentence: they are of another kind.
    """

    q: float
    established: Mapping[str, int] = field(default_factory=dict)
    featureless: int = 0
    of_not_used: int = 0
    ambiguous: int = 0
    whole: CopyCalibration | None = None
    part: CopyCalibration | None = None
    false_match_rate: FalseMatchRate | None = None
    pixels_space: str = ""
    guarantee: str = ""
    unlike: str | None = field(default=None, metadata=LEFT_OUT)
