"""A table of answers that knows where its photos lie, so that a notebook shows them too."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from lotlens.doors import draw_html
from lotlens.records import Catalog


class Answers(pd.DataFrame):
    """The frame that `Model.predict` gives; what is made of it (a part, a copy) is a plain frame.

    Attributes:
        catalog: the photos, in the order of the rows.
    """

    _metadata: ClassVar[list[str]] = ["catalog"]
    catalog: Catalog

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        is_whole = "catalog" in self.__dict__ and len(self.catalog) == len(self)
        if is_whole and (drawn := draw_html(self)) is not None:
            return drawn
        plain: str | None = super()._repr_html_()  # type: ignore[misc]  # stubs lack it
        return plain


def with_photos(frame: pd.DataFrame, catalog: Catalog) -> pd.DataFrame:
    """Answers to the photos of a catalog, in its order."""
    answers = Answers(frame)
    answers.catalog = catalog
    return answers
