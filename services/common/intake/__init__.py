"""Use case: accept one instance, whichever way it comes (C-STORE, STOW-RS, import).

* `Intake.begin` gives a `Reception` that takes the data set as it arrives; `Intake.accept_file` takes a
  Part 10 file.
* `recover` tells again, from the object store alone, what was told when an original was accepted.
"""

from __future__ import annotations

from services.common.intake.intake import Intake, Publisher
from services.common.intake.reception import Limits, Reception
from services.common.intake.recovery import recover

__all__ = ["Intake", "Limits", "Publisher", "Reception", "recover"]
