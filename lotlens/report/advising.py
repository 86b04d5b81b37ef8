"""Which commands do what a report advises; it runs none of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lotlens.judge.advice import Advice, Calibration, CheckLabels, MendFiles, NeedsPhotos
from lotlens.judge.judged import Subject
from lotlens.report.language import Language, mark

if TYPE_CHECKING:
    from lotlens.report.page import Origin

_LABELS, _PHOTOS, _FOLDER = mark("LABELS.csv"), mark("PHOTOS"), mark("FOLDER")


def suggest_commands(
    item: Advice, subject: Subject, origin: Origin | None, language: Language
) -> Sequence[str]:
    """The commands of one advice, in their order; none where lotlens has none for it.

    Args:
        item: the advice.
        subject: what was judged: only of a run's own photos its doubts can be listed.
        origin: where the run lies; None if that is not known.
        language: of what stands for a person's own files.
    """
    if origin is None:
        return ()
    run = shlex.quote(str(origin.run_path))
    is_own = subject.kind in ("held-out", "folds")
    judge_more = (
        f"lotlens evaluate {run} --labels {language.say(_LABELS)} --photos {language.say(_PHOTOS)}"
    )
    if isinstance(item, CheckLabels):
        return (f"lotlens doubts {run}", f"lotlens review {run}") if is_own else ()
    if isinstance(item, NeedsPhotos):
        if item.num_training is not None and not item.has_few:
            return (f"lotlens improve {run} --hard",)
        return (f"lotlens improve {run} --outside {language.say(_FOLDER)}",)
    if isinstance(item, MendFiles):
        is_known = subject.kind != "other" and origin.data_path is not None
        return (f"lotlens audit {shlex.quote(str(origin.data_path))}",) if is_known else ()
    if isinstance(item, Calibration) and item.verdict == "kept":
        return ()
    if isinstance(item, Calibration) and not is_own:
        return (f"lotlens refusal {run}",)
    return (judge_more,)
