"""The page from made-up values: nothing from outside becomes markup, and every figure stands where it belongs."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from provenance.findings import Findings
from provenance.records import (
    AuditDataset,
    AuditRecord,
    AuditReject,
    Dataset,
    Drift,
    Generator,
    RejectRecord,
    StoredVerdict,
)
from provenance.report import Case, Neighborhood, Picture, ReportContent, RulePart, Series, render
from provenance.report.page import with_meanings
from provenance.vocabulary import DatasetKind, Label, RejectReason, Role, Space, Subject

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\u202e\ud800\x1b[31m.png"
VOID = {"meta", "img", "br", "link", "input", "hr"}


def picture(role: Role, name: str = "a.png", png: bytes | None = b"\x89PNG", **changes: Any) -> Picture:
    values: dict[str, Any] = {
        "image_id": "sha256:" + "ab" * 32,
        "name": name,
        "role": role,
        "datasets": ("cohort",),
        "group": "",
        "facts": "64 x 48 PNG",
        "png": png,
        "width_percent": 100,
        "height_percent": 75,
        "missing": "" if png else "gone",
    }
    return Picture(**(values | changes))


def case(rank: int = 1, **changes: Any) -> Case:
    verdict: dict[str, Any] = {
        "image_key": "k",
        "subject_role": Role.RELEASE,
        "label": Label.USED,
        "score": 0.91234567890123,
        "s_used": 0.91234567890123,
        "s_not_used": 0.81234567890123,
        "s_against": None,
        "threshold": None,
        "p_value": None,
        "q_value": None,
        "near_threshold": False,
        "verdict_sha256": "",
    }
    values: dict[str, Any] = {
        "subject": picture(Role.RELEASE),
        "nearest": Neighborhood(picture(Role.USED), 0.91234567890123, ""),
        "control": Neighborhood(picture(Role.NOT_USED), 0.81234567890123, ""),
    }
    said = {name: changes.pop(name) for name in list(changes) if name in verdict}
    return Case(rank=rank, verdict=StoredVerdict(**(verdict | said)), **(values | changes))


def audit(**changes: Any) -> AuditRecord:
    values: dict[str, Any] = {
        "audit_id": "f" * 32,
        "dataset_id": "release",
        "subject": Subject.GENERATED,
        "rule": "mu-alpha-sigma",
        "policy_id": "policy:" + "1" * 64,
        "space_id": "space:" + "2" * 64,
        "release_digest": "sha256:" + "5" * 64,
        "findings": Findings(index="local"),
        "verdict_digest": "sha256:" + "4" * 64,
        "software_version": "0.1",
        "started_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        "finished_at": datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        "duration_seconds": 1.25,
        "mu": 0.5,
        "sigma": 0.1,
        "alpha": 0.5,
        "population_count": 4,
        "threshold": 0.55,
        "counts": {"subjects": 2, "used": 1, "not_used": 1},
    }
    return AuditRecord(**(values | changes))


def dataset(dataset_id: str, name: str, modality: str, generator: Generator | None = None) -> Dataset:
    kind = DatasetKind.RELEASE if generator else DatasetKind.SET
    return Dataset(dataset_id, name, kind, None, generator, modality, datetime(2026, 1, 2, tzinfo=UTC))


def drift(dataset_id: str, role: Role, name: str, count: int, digest: str) -> Drift:
    return Drift(AuditDataset(dataset_id, role, name, digest, count), count, changed=False)


RELEASE = drift("release", Role.RELEASE, "gan-1", 2, "sha256:" + "5" * 64)
COHORT = drift("cohort", Role.USED, "cohort", 9, "sha256:" + "6" * 64)


def content(**changes: Any) -> ReportContent:
    values: dict[str, Any] = {
        "parameters": {"alpha": 0.5, "population": "maxima"},
        "space": Space("resnet50", "3" * 64, {"size": 224}, 2048),
        "catalog_uuid": "c",
        "datasets": (RELEASE, COHORT),
        "known": {
            "release": dataset("release", "gan-1", "CT", Generator("gan", "stylegan2", "3")),
            "cohort": dataset("cohort", "cohort", "CT"),
        },
        "series": (Series("S_u", "to used", (0.9, 0.2)), Series("S_n", "to not used", (0.8, 0.1))),
        "by_role": (),
        "cases": (case(),),
        "rejects": (),
        "compare_command": "provenance audit gan-1 --compare f",
        "audit_command": "provenance audit gan-1",
        "ingest_commands": ("provenance ingest IMAGES --set cohort",),
        "report_version": "0.1",
    }
    recorded = {name: changes.pop(name) for name in list(changes) if name in AuditRecord.__dataclass_fields__}
    return ReportContent(audit=audit(**recorded), **(values | changes))


def reject(name: str, detail: str) -> AuditReject:
    broken = RejectReason.BROKEN
    ids: dict[str, Any] = {"reject_id": 1, "run_id": "r", "dataset_id": "d"}
    record = RejectRecord(name, "", None, 1, broken, detail, **ids, rejected_at=datetime(2026, 1, 2, tzinfo=UTC))
    return AuditReject(1, broken, record)


class Reader(HTMLParser):
    """Tags, attributes and text; tags must close in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def hostile() -> ReportContent:
    evil = picture(Role.USED, EVIL, None, datasets=(EVIL,), group=EVIL, facts=EVIL, missing=EVIL, image_id=EVIL)
    return content(
        parameters={EVIL: EVIL},
        space=Space(EVIL, EVIL, {EVIL: EVIL}, 3),
        space_id=EVIL,
        datasets=(
            drift("release", Role.RELEASE, EVIL, 1, EVIL),
            replace(drift("cohort", Role.USED, EVIL, 1, EVIL), image_count_now=None, changed=True),
        ),
        known={
            "release": dataset("release", EVIL, EVIL, Generator(EVIL, EVIL, EVIL)),
            "cohort": dataset("cohort", EVIL, EVIL),
        },
        cases=(case(subject=evil, nearest=Neighborhood(evil, 0.5, "file"), control=Neighborhood(evil, 0.4, "")),),
        counts={**content().audit.counts, "rejected": 1},
        rejects=(reject(EVIL, EVIL),),
        compare_command=EVIL,
        audit_command=EVIL,
        ingest_commands=(EVIL,),
        findings=Findings(search=EVIL, index=EVIL),
        software_version=EVIL,
    )


def test_names_from_outside_do_no_harm() -> None:
    page = render(hostile())
    page.encode("utf-8")
    reader = Reader(page)
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form", "img"}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in reader.text
    assert "{{ 7 * 7 }}" in reader.text
    assert "\u202e" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize("made", [content, hostile])
def test_the_page_names_no_other_place(made: Any) -> None:
    page = render(made())
    assert "://" not in page
    for _, attributes in Reader(page).tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,"))
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page


def test_its_policy_allows_neither_scripts_nor_requests() -> None:
    (policy,) = [a["content"] for _, a in Reader(render(content())).tags if a.get("http-equiv")]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_it_can_be_read_without_seeing_it() -> None:
    page = render(content(rejects=(reject("n", "d"),), counts={**content().audit.counts, "rejected": 1}))
    reader = Reader(page)
    assert ("html", {"lang": "en"}) in reader.tags
    ids = {a["id"] for _, a in reader.tags if "id" in a}
    assert len(ids) == sum("id" in a for _, a in reader.tags)
    for tag, attributes in reader.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
        for name in ("aria-labelledby", "href"):
            value = (attributes.get(name) or "").removeprefix("#")
            assert not value or value in ids
    tables = [tag for tag, _ in reader.tags].count("table")
    assert tables == [tag for tag, _ in reader.tags].count("caption") > 3


def test_similarities_keep_all_their_digits() -> None:
    values = [a["value"] for tag, a in Reader(render(content())).tags if tag == "data"]
    assert values.count("0.91234567890123") == 2
    assert values.count("0.81234567890123") == 2
    assert {"0.5", "0.1", "0.55"} <= set(values)


def test_no_label_used_is_no_proof_of_innocence() -> None:
    counts = {**content().audit.counts, "used": 0, "not_used": 2}
    page = " ".join(Reader(render(content(counts=counts))).text.split())
    assert "No image was labelled used, and that does not show that none was." in page
    assert "nothing could be labelled used" not in page
    only_not_used = drift("cohort", Role.NOT_USED, "n", 9, "d")
    lone = content(counts=counts, datasets=(content().datasets[0], only_not_used))
    assert "nothing could be labelled used" in " ".join(Reader(render(lone)).text.split())


def test_what_is_lacking_is_said() -> None:
    gone = picture(Role.USED, "", None, missing="forgotten since", image_id=None)
    line = replace(content().datasets[1], image_count_now=None, changed=True)
    page = content(
        known={**content().known, "release": dataset("release", "gan-1", "CT")},
        cases=(case(subject=gone, nearest=None, control=None, score=None, s_used=None),),
        datasets=(content().datasets[0], line),
        mu=None,
        sigma=None,
        alpha=None,
        threshold=None,
        population_count=None,
    )
    text = " ".join(Reader(render(page)).text.split())
    for words in ("no picture", "forgotten since", "name erased", "not on record any more", "removed"):
        assert words in text
    assert "none was asked for" in Reader(render(content(cases=()))).text


def test_equal_content_gives_equal_pages() -> None:
    assert render(content()) == render(content())


def test_many_scores_are_drawn_in_seconds() -> None:
    rng = np.random.default_rng(1)
    series = tuple(Series(s, "to used", tuple(rng.normal(0.6, 0.1, 10_000).tolist())) for s in ("S_u", "S_n"))
    started = time.monotonic()
    page = render(content(series=series))
    assert time.monotonic() - started < 10
    assert len(page) < 300_000


def test_a_rule_says_for_itself_what_it_found() -> None:
    words = ("summary", "links", "decided_by", "sections")
    template = "".join(f"{{% macro {word}() %}}{word} of {{{{ own | printable }}}}{{% endmacro %}}" for word in words)
    page = render(content(part=RulePart(template, EVIL), labels=(Label.ESTABLISHED,), symbol="score x"))
    assert all(f"{word} of &lt;script&gt;" in page for word in words)
    assert "What these labels mean" not in page


def test_titles_of_facts_and_columns_say_what_they_mean() -> None:
    page = '<dl><dt>p</dt><dt>what?</dt></dl><th scope="col" class="number">AUC</th><th scope="row"><bdi>p</bdi></th>'
    told = with_meanings(page)
    assert '<dt title="How often an image' in told
    assert "[probability, 0 to 1]" in told
    assert '<th scope="col" class="number" title="The chance that' in told
    assert "<dt>what?</dt>" in told
    assert '<th scope="row"><bdi>p</bdi></th>' in told
    assert re.sub(r' title="[^"]*"', "", told) == page
