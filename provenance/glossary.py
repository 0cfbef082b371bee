"""What every printed name means, with its unit: the one table that the terminal, the report and the docs show.

A name that is printed of an audit without standing here is a defect; tests hold it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

METHOD = "docs/method.md"


@dataclass(frozen=True, slots=True)
class Term:
    """One name.

    Attributes:
        name: As it is printed.
        unit: Its unit and range; empty of what is no number.
        meaning: In a sentence or two.
        section: Of docs/method.md, where its formula stands; empty where it has none.
        forms: Other ways in which it is printed.
    """

    name: str
    unit: str
    meaning: str
    section: str = ""
    forms: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where its formula stands; empty where it has none."""
        return f"({METHOD}, {self.section})" if self.section else ""

    @property
    def anchor(self) -> str:
        """The link of that section within the method's page."""
        return re.sub(r"[^a-z0-9 -]", "", self.section.lower()).replace(" ", "-")


_CALIBRATED, _SEED, _TEST = "Calibrated verdicts", "The rule mu-alpha-sigma", "Release test"
_COPIES, _SENSITIVITY, _LOOKS = "Copies", "Sensitivity", "Looking often"
_POWER = "Power of the release test"
_GUESS, _GROUPS, _OTHERS = "Best guess", "Groups as subjects", "Tail and Storey"
_COPIED = "Copies among the real images"

GLOSSARY = (
    # what an audit concludes
    Term("OUTCOME", "",
         "The conclusion for the whole release: a leak is established, it is not established (which is no proof "
         "that there is none), or the data can't tell.",
         _TEST, ("outcome", "LEAK ESTABLISHED", "LEAK NOT ESTABLISHED", "INCONCLUSIVE", "NO OUTCOME")),
    Term("looks", "audits",
         "How many audits of the same release with different options or sets there have been, this one included. "
         "Each is one more chance to find something that is not there.", _LOOKS, ("look",)),
    Term("predeclared", "",
         "The policy was on record before anybody looked at these images, so that its error rate holds for it "
         "alone.", _LOOKS, ("declared beforehand",)),
    # who takes part
    Term("audit", "", "The id of this audit; its first digits do, where they are unique."),
    Term("audited at", "UTC", "When the audit was finished.", "", ("measured",)),
    Term("release", "images", "The generated images that were audited, with their number."),
    Term("subject", "", "Which images were judged: generated ones, real ones, or the release as a whole."),
    Term("used", "images",
         "Sets of real images that are claimed to have been used for training; as a label of the baseline: the rule "
         "takes the image for used, or for a copy of a used one.", _SEED),
    Term("not_used", "images",
         "Sets of real images that are known not to have been used: they calibrate. As a label of the baseline: the "
         "rule does not take the image for used.", _CALIBRATED, ("not-used", "not used")),
    Term("against", "images",
         "Sets of real images of which it is unknown whether they were used.", "", ("of unknown", "unknown")),
    Term("claimed", "", "What the audit's sets say of a real image: used, not used or unknown (against)."),
    Term("release and sets", "names", "The release that was audited, and the real sets by the role they played.", "",
         ("sets",)),
    Term("judged", "images", "How many images got a verdict, of which kind, and by which rule."),
    Term("labels", "images", "How many images have each label.", "", ("label",)),
    Term("rejected", "inputs", "Files that could not be read as images; they were not judged."),
    Term("rule", "", "How verdicts are made: copies, calibrated, mu-alpha-sigma or logistic."),
    Term("groups", "groups",
         "Patients or studies. Images of one are not independent, so each group has one vote; an image without a "
         "group is one of its own.", _CALIBRATED, ("group",)),
    # copies
    Term("copies", "images", "First answer: each generated image against all real ones.", _COPIES),
    Term("copy", "label",
         "The generated image shows one real image again: as a whole, or as much of it as is said (on 70 % of the "
         "image: cropped, shifted or turned).", _COPIES),
    Term("part_copy", "label",
         "A region of the generated image, 15 % of its area or more, shows a region of a real image again.",
         _COPIES, ("part copy", "part copies")),
    Term("no_copy_seen", "label",
         "No real image agrees with it beyond what strangers reach. What is too weak to be seen is the "
         "sensitivity's matter.", _COPIES, ("no copy seen",)),
    Term("source", "", "The real image that a generated one agrees with, the best first.", _COPIES, ("sources",)),
    Term("agreement", "correlation, -1 to 1",
         "How well the structure of two images agrees where they overlap, once the one is brought onto the other; "
         "brightness and contrast are free. 1: the same.", _COPIES),
    Term("evidence", "no unit",
         "How much a source speaks for a copy, by frequency and rigidity, learnt from real images of different groups: "
         "0 is their median, 1 their 95th percentile.", _COPIES),
    Term("overlap", "share, 0 to 1",
         "How much of the generated image's structure lies within the real image once that is brought onto it.",
         _COPIES),
    Term("share", "share, 0 to 1",
         "Of a whole: how much of the generated image's structure follows its source; of a part: how much of its "
         "area it takes. Of planted copies: how many were found.",
         _COPIES, ("shares", "area")),
    Term("box", "shares of width and height", "Where a part lies: left, top, right and bottom edge.", _COPIES),
    Term("transformation", "",
         "What was done to the real image on its way to the generated one: mirrored, turned (degrees), scaled "
         "(times), shifted (share of the edge).", _COPIES),
    Term("established by", "",
         "How a copy is known: identity, conformal, tail or verification.", _COPIES, ("established_by", "by")),
    Term("identity", "",
         "The same bytes or the same pixels, also after the release's resolution and format: a fact, no statistics.",
         _COPIES),
    Term("conformal", "",
         "By a p-value that is exact under the stated assumptions: a rank among never-used images.", _COPIES),
    Term("tail", "",
         "By a model of the highest scores of never-used images, where ranks end: as good as the model's fit.",
         _COPIES),
    Term("verification", "",
         "By an agreement that strangers reach at the stated false match rate only; without never-used images to "
         "calibrate by.", _COPIES),
    Term("false match rate", "share of groups, 0 to 1",
         "How often real images of different patients agree as much as is asked of a copy, with its upper 95 % bound: "
         "a share of comparisons, where FDR is a share of what was found.", _COPIES, ("false_match_rate",)),
    Term("wholes", "groups, images",
         "What whole images are held against: never-used images (or strangers) through the same search.", _COPIES),
    Term("regions", "groups, images", "What parts are held against, likewise.", _COPIES, ("region",)),
    # membership
    Term("membership", "images", "Second answer: was this real image used for training?", _CALIBRATED),
    Term("established", "label", "It holds, at a false discovery rate of at most q on average.", _CALIBRATED),
    Term("not_established", "label",
         "It could not be shown. This never means that the image was not used.", _CALIBRATED, ("not established",)),
    Term("inconclusive", "label", "The audit could not have shown it, or a guard speaks against it.", _CALIBRATED),
    Term("calibration", "groups, images",
         "The images known not to be used, which say how high scores get by chance.", _CALIBRATED),
    Term("p", "probability, 0 to 1",
         "How often an image that was not used (that copies nothing) would score as high: small speaks for use (for "
         "a copy).", _CALIBRATED, ("p_value", "p-value", "p-values")),
    Term("q", "share, 0 to 1",
         "The smallest false discovery rate at which this image is still established (Benjamini-Hochberg).",
         _CALIBRATED, ("q_value", "q-value", "q-values")),
    Term("FDR", "share, 0 to 1",
         "False discovery rate: the share of wrong ones among the established that is allowed, on average over "
         "draws of the calibration set. The false match rate is another one: of comparisons of strangers.",
         _CALIBRATED, ("false discovery rate",)),
    Term("k_min", "groups",
         "How many judged groups must outrank all calibration before any can be established. Where it is above 1, a "
         "single copied image can't be.", _CALIBRATED),
    Term("score", "by its rule",
         "What verdicts rest on, higher is more suspicious: a membership score without unit, or a cosine.",
         "Membership scores"),
    Term("learnt", "",
         "The score that learns from images known used and never used what this release remembers; each image is "
         "scored by a model that has not seen its group. Also what it learnt, and whether the two sets differ without "
         "any release.", "The learnt score"),
    Term("texture", "",
         "Brightness, contrast, sharpness and noise of images: what says how they were made, not what they show.",
         "The learnt score"),
    Term("weights", "no unit",
         "How much each patch size and kernel width speaks for use (above 0) or against it, as it was learnt.",
         "The learnt score", ("weight", "kernel width")),
    Term("of used", "groups", "The verdicts on images claimed used, a family of their own.", _CALIBRATED),
    Term("of judged", "groups", "The verdicts on the generated images, all in one family.", _CALIBRATED),
    Term("release test", "", "Do images claimed used score higher than images known not used, as a whole?", _TEST),
    Term("AUC", "probability, 0 to 1",
         "The chance that an image claimed used scores higher than one known not used; 0.5 is no difference. In "
         "brackets its 95 % interval.", _TEST),
    Term("control", "",
         "The same test where nothing can be found: against images, or a release, without a common past.", _TEST),
    Term("probability", "probability, 0 to 1",
         "That a real image was used, as learnt on the known ones at the stated prior: a bet.", _GUESS),
    Term("families", "",
         "Images of each claim (used, unknown) are judged by themselves, with an error rate of their own.",
         _CALIBRATED),
    Term("shift check", "probability, 0 to 1",
         "Whether calibration and judged images look alike in what is on record of them; p by permutation.",
         _CALIBRATED),
    Term("statistic", "", "What is computed of the release as a whole; p says how often chance alone gives as much.",
         _TEST),
    Term("attribution share", "share, 0 to 1",
         "Of the generated images: those whose nearest real image is a used one.", _TEST),
    Term("C_T", "standard deviations",
         "A rank statistic of data-copying: far below 0 where generated images lie closer to used ones than fresh real "
         "images do.", _TEST),
    Term("AuthPct", "share, 0 to 1",
         "Of the generated images: those farther from their nearest used image than that one is from its own nearest "
         "used image.", _TEST),
    Term("best guess", "used or not used",
         "The better bet for a real image: a probability of one half or more. No error rate is controlled: a bet, not "
         "a finding.", _GUESS, ("guess", "best_guess", "Best guess")),
    Term("accuracy", "share, 0 to 1",
         "How many of the guesses are right; in brackets its 95 % interval.", _GUESS),
    Term("kappa", "no unit, -1 to 1",
         "How much better than chance two sayings agree (Cohen): 0 is chance, 1 is always.", _GUESS),
    Term("Brier score", "0 to 1",
         "Mean squared error of the probability: 0 is perfect, one half for everybody has 0.25.", _GUESS, ("brier",)),
    Term("TPR at 1 % FPR", "share, 0 to 1",
         "How many of the used images are found where 1 % of the others are called used.", _GUESS,
         ("tpr_at_1_percent_fpr",)),
    Term("prior", "share, 0 to 1",
         "How many of the judged images were used, as far as was known beforehand; the best guess takes it as given.",
         _GUESS),
    Term("other means", "images",
         "How many images other means than the strict ones would establish at the same rate: the tail is a model, "
         "Storey's share of nulls (pi0) takes p-values for independent. No label rests on them.", _OTHERS,
         ("storey_q_value", "tail_p_value", "tail_q_value", "pi0", "Storey")),
    Term("group_label", "label",
         "The answer of the image's group as a whole, by the mean or the best of its scores; p and q likewise.",
         _GROUPS, ("group_score", "group_p_value", "group_q_value")),
    Term("copied", "images",
         "Real images that a generated one shows again, as a whole or in part: the copies of the same audit say so.",
         _COPIED, ("copied_by", "copied_as")),
    # baseline
    Term("baseline", "images",
         "Third answer: the published rule mu-alpha-sigma. It has no error rate: leads, not findings.", _SEED),
    Term("threshold", "cosine",
         "T = mu + alpha x sigma. A generated image is labelled used where its S_u (or S_unknown, if greater) is above "
         "T and above its S_n; a real one where its S is above T. Equal is not above.", _SEED, ("T",)),
    Term("mu", "cosine", "Mean of the scores that T is made of.", _SEED),
    Term("sigma", "cosine", "Their standard deviation (ddof 0).", _SEED),
    Term("alpha", "no unit", "How many sigma above mu T lies.", _SEED),
    Term("S", "cosine, -1 to 1", "Greatest similarity of a real image to a generated one.", _SEED),
    Term("S_u", "cosine, -1 to 1", "Greatest similarity to an image claimed used.", _SEED, ("s_used",)),
    Term("S_n", "cosine, -1 to 1", "Greatest similarity to an image known not used.", _SEED, ("s_not_used",)),
    Term("S_unknown", "cosine, -1 to 1", "Greatest similarity to an image of unknown use.", _SEED, ("s_against",)),
    Term("similarity", "cosine, -1 to 1", "Of the whole images' features, 1: the same.", "Neighbors", ("cosine",)),
    Term("nearest", "", "The most similar image on the other side.", "Neighbors", ("nearest name",)),
    Term("image", "", "The judged image: its name, or its id where the name was erased."),
    Term("euclidean", "cases",
         "How often Euclidean distance gives the same nearest neighbor and label as cosine.",
         "Euclidean distance beside cosine", ("by distance",)),
    # what it would have seen
    Term("sensitivity", "share, 0 to 1",
         "Which share of planted copies of each kind this audit finds.", _SENSITIVITY),
    Term("in all", "", "What the audit would have seen, in a sentence.", _SENSITIVITY),
    Term("least share", "% of the used images",
         "So many would have to be remembered as strongly as these, for the release test to call a leak in 95 % of "
         "cases.", _POWER, ("as strongly as", "scores")),
    Term("plants", "images", "Copies that were made of known images and judged one at a time.", _SENSITIVITY,
         ("planted", "kind", "found")),
    Term("95 % interval", "share, 0 to 1", "Where the share lies, by Wilson's interval.", _SENSITIVITY),
    Term("outrank all calibration", "plants", "How many have the smallest p-value there can be.", _SENSITIVITY),
    # how to check it
    Term("verdict digest", "sha256",
         "Over what was judged, by what, and every verdict: the same vectors give the same.", "The verdict digest"),
    Term("policy", "sha256", "The rule with all its parameters."),
    Term("space", "sha256", "Backbone, weights and preprocessing that made the vectors."),
    Term("searched in", "",
         "Where the nearest images were looked for, exactly: in files of vectors that were copied once and verified, "
         "or by the server that holds them. No verdict and no digest depends on it."),
)  # fmt: skip
"""In the order in which they are explained."""


def terms_in(text: str) -> list[Term]:
    """The terms whose name, or another form of it, stands in a text as whole words; in the glossary's order."""
    found = {id(_BY_FORM[form]) for form in _words().findall(text)}
    return [term for term in GLOSSARY if id(term) in found]


def term(name: str) -> Term | None:
    """The term that is printed so; ``None`` where there is none."""
    return _BY_FORM.get(name)


_BY_FORM = {form: each for each in GLOSSARY for form in (each.name, *each.forms)}


@cache
def _words() -> re.Pattern[str]:
    """Any form of any term; of two that begin alike the longer."""
    forms = "|".join(map(re.escape, sorted(_BY_FORM, key=len, reverse=True)))
    return re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])")


def as_markdown() -> str:
    """The table of the docs."""
    lines = [
        "# Words and units",
        "",
        "What is printed of an audit, in the terminal (`--explain`) and in the report.",
        "",
        "| name | unit | meaning |",
        "|---|---|---|",
    ]
    for each in GLOSSARY:
        link = f" ([{each.section}](../method.md#{each.anchor}))" if each.section else ""
        lines.append(f"| {each.name} | {each.unit} | {each.meaning}{link} |")
    return "\n".join(lines) + "\n"
