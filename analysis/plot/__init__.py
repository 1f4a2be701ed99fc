"""Plots of estimates: functions that take data frames, draw on matplotlib axes, and return them.

Without `axes` each makes a figure of a fitting size by pyplot, which a notebook shows. matplotlib is imported by the
first that is called.
"""

from analysis.plot.agreement_curves import agreement_curve
from analysis.plot.curves import marginal_utility, reliability, removal
from analysis.plot.detection import noise, proxies
from analysis.plot.forgetting import forgetting, paired_forgetting
from analysis.plot.groups import learning, profiles
from analysis.plot.histograms import cscore, memorization
from analysis.plot.localization import localization
from analysis.plot.partitions import partitions
from analysis.plot.pictures import examples, influence
from analysis.plot.roc import audit
from analysis.plot.scatters import agreement, mem_against_cscore

__all__ = [
    "agreement",
    "agreement_curve",
    "audit",
    "cscore",
    "examples",
    "forgetting",
    "influence",
    "learning",
    "localization",
    "marginal_utility",
    "mem_against_cscore",
    "memorization",
    "noise",
    "paired_forgetting",
    "partitions",
    "profiles",
    "proxies",
    "reliability",
    "removal",
]
