"""The demo: ``making`` (phantoms, a generator's release, their truth) -> audit -> ``comparing`` -> ``run``."""

from provenance.demo.comparing import LARGE_KINDS, SMALL_KIND, WHOLE_KIND
from provenance.demo.making import CONTROL, FILE
from provenance.demo.run import MIN_PATIENTS, PATIENTS, Comparison, DemoReport, DemoRequest, run_demo

__all__ = [
    "CONTROL",
    "FILE",
    "LARGE_KINDS",
    "MIN_PATIENTS",
    "PATIENTS",
    "SMALL_KIND",
    "WHOLE_KIND",
    "Comparison",
    "DemoReport",
    "DemoRequest",
    "run_demo",
]
