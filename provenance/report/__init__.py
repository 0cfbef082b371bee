"""An audit as a page, and the figures of evaluations: values in, HTML, SVG and PNG out. No files, no clock, no network.

The page is one self-contained file. It needs no script, and its content security policy allows none.
"""

from provenance.report.content import (
    Case,
    HeatMap,
    JointContent,
    Neighborhood,
    Picture,
    ReportContent,
    RoleLine,
    RulePart,
    Series,
    SourceShown,
)
from provenance.report.drawing import Drawing
from provenance.report.evaluation import Curve, draw_calibration, draw_histogram, draw_roc
from provenance.report.joint import render_joint
from provenance.report.page import render
from provenance.report.sensitivity import PowerLine, ShareLine, draw_power, draw_sensitivity
from provenance.report.sweep import SweepCurves, draw_sweep

__all__ = [
    "Case",
    "Curve",
    "Drawing",
    "HeatMap",
    "JointContent",
    "Neighborhood",
    "Picture",
    "PowerLine",
    "ReportContent",
    "RoleLine",
    "RulePart",
    "Series",
    "ShareLine",
    "SourceShown",
    "SweepCurves",
    "draw_calibration",
    "draw_histogram",
    "draw_power",
    "draw_roc",
    "draw_sensitivity",
    "draw_sweep",
    "render",
    "render_joint",
]
