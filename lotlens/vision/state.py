"""What the stages of a training hand on to one another, kept so that it can go on."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from lotlens.errors import BundleError, shorten
from lotlens.files import write_bytes_atomically, write_text_atomically
from lotlens.values import quote, read_flag, read_mapping, read_whole
from lotlens.vision.classifier import Classifier, Weights


@dataclass(frozen=True)
class Candidate:
    """Weights that could be the result, judged on validation.

    Attributes:
        name: "probe", "fine-tuned" or "wise-ft 0.4" (the share of the fine-tuned weights).
        accuracy: top-1 on validation.
        log_loss: on validation, in nats, at the candidate's own best temperature.
    """

    name: str
    accuracy: float
    log_loss: float


@dataclass
class State:
    """How far the stages have come; on disk two files a finished stage, the JSON written last.

    Attributes:
        next_stage: the first stage that is not finished.
        candidates: all weights that were judged.
        best: those of the lowest log loss.
        anchor: those that fine-tuning set out from: the probe's, or given ones.
        history: as in `Trained`.
        is_tuned: whether a stage of fine-tuning was finished.
    """

    next_stage: int = 0
    candidates: list[Candidate] = field(default_factory=list)
    best: Weights = field(default_factory=dict)
    anchor: Weights | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    is_tuned: bool = False

    @property
    def chosen(self) -> Candidate:
        return min(self.candidates, key=lambda candidate: candidate.log_loss)

    def consider(self, candidate: Candidate, weights: Weights) -> None:
        self.candidates.append(candidate)
        if self.chosen is candidate:
            self.best = weights

    def forget(self) -> None:
        self.candidates, self.best = [], {}

    def save(self, folder: Path, classifier: Classifier) -> None:
        """Write it, and remove what belongs to the stages before."""
        parts = {"now": classifier.state_dict(), "best": self.best, "anchor": self.anchor or {}}
        tensors = {
            f"{part}/{key}": value.contiguous().clone()
            for part, weights in parts.items()
            for key, value in weights.items()
        }
        name = f"stage-{self.next_stage - 1}.safetensors"
        write_bytes_atomically(folder / name, save(tensors))
        values = {
            "next_stage": self.next_stage,
            "weights": name,
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "history": self.history,
            "is_tuned": self.is_tuned,
        }
        write_text_atomically(folder / "stages.json", json.dumps(values))
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (name, "stages.json"):
                path.unlink()

    @classmethod
    def load(cls, folder: Path, classifier: Classifier) -> State:
        """What was saved, the classifier's present weights with it; a new one if nothing was.

        Raises:
            BundleError: it cannot be read, or does not fit the classifier.
        """
        path = folder / "stages.json"
        if not path.is_file():
            return cls()
        try:
            values = json.loads(path.read_text("utf-8"))
            parts: dict[str, Weights] = {"now": {}, "best": {}, "anchor": {}}
            if not re.fullmatch(r"stage-\d{1,3}\.safetensors", values["weights"]):
                raise ValueError(f"weights: {quote(values['weights'])} is no file of a checkpoint")
            for key, value in load((folder / values["weights"]).read_bytes()).items():
                part, _, name = key.partition("/")
                parts[part][name] = value
            classifier.load_state_dict(parts["now"])
            return cls(
                read_whole(values["next_stage"], 0, 1_000),
                [Candidate(**candidate) for candidate in values["candidates"]],
                parts["best"],
                parts["anchor"] or None,
                [read_mapping(row) for row in values["history"]],
                read_flag(values["is_tuned"]),
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise BundleError(
                f"the checkpoint in {folder} cannot be read ({shorten(str(error))}): train anew"
                " without --resume"
            ) from error
