"""Privacy audit as data frames."""

from dataclasses import replace

from analysis.scoring.privacy.audit import Audit, AuditOptions, VarianceOption, audit_store
from analysis.scoring.privacy.rmia import OFFLINE_A
from analysis.statistics.intervals import CONFIDENCE
from analysis.view.base import View


class PrivacyView(View):
    """The part of a `StoreView` that is about membership inference."""

    def audit(
        self,
        *,
        ratio: float | None = None,
        epoch: int | None = None,
        variance: VarianceOption = "auto",
        offline_a: float = OFFLINE_A,
        confidence: float = CONFIDENCE,
    ) -> Audit:
        """Membership inference attacks on every run by all others, and how vulnerable each training example is.

        See `analysis.scoring.privacy.audit`. Raises EstimateError also where record.outputs has no loss and no margin.
        """
        found = audit_store(self.store, ratio, epoch, AuditOptions(variance, offline_a, confidence))
        return replace(found, examples=self._frame(found.examples))
