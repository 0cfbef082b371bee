"""The report of one audit as a page: values in, HTML out. No files, no clock, no network.

The page is one self-contained file. It needs no script, and its content security policy allows none.
"""

from provenance.report.content import (
    Case,
    DatasetLine,
    GeneratorLine,
    Neighborhood,
    Picture,
    RejectLine,
    ReportContent,
    RoleLine,
    Series,
    SpaceLine,
)
from provenance.report.page import render
from provenance.report.sweep import SweepCurves, draw_sweep

__all__ = [
    "Case",
    "DatasetLine",
    "GeneratorLine",
    "Neighborhood",
    "Picture",
    "RejectLine",
    "ReportContent",
    "RoleLine",
    "Series",
    "SpaceLine",
    "SweepCurves",
    "draw_sweep",
    "render",
]
