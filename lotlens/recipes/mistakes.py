"""What is wrong with a recipe, in plain words with the likely correction."""

from __future__ import annotations

import difflib
import reprlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from lotlens.recipes.schema import Finetune, Recipe
from lotlens.values import quote

_PLAIN = {
    "Input should be": "must be",
    "a valid tuple": "a list",
    "Tuple": "the list",
    " after validation": "",
    "Value error, ": "",
}
"""What pydantic says, and what people who write recipes say."""


def describe_mistake(problem: Mapping[str, Any]) -> str:
    """One mistake found by pydantic, in plain words with the likely correction."""
    place, owner, annotation = _locate(problem["loc"])
    path = ".".join(str(part) for part in place)
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_suggest_key(str(place[-1]), owner)}"
    if kind == "missing":
        what = "a value is missing" if isinstance(place[-1], int) else "this key is needed"
        return f"{path}: {what}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        key, known = _tags(_models_in(annotation))
        if kind == "union_tag_not_found":
            return f"{path}: needs a {key}: {', '.join(known)}"
        tag = problem["ctx"]["tag"]
        return f"{path}.{key}: {tag!r} is not one of {', '.join(known)}{suggest(tag, known)}"
    if kind == "literal_error":
        words = _words_in(annotation)
        hint = suggest(given, words) if isinstance(given, str) else ""
        return f"{path}: {_show(given)} is not one of {', '.join(words)}{hint}"
    if kind in ("model_type", "model_attributes_type"):
        return f"{path}: {_expect_mapping(path, annotation, given)}"
    if owner is Finetune and place[-1] == "unfreeze":
        message = "must be all, head, the name of a layer group, or a share above 0 and up to 1"
    else:
        message = str(problem["msg"])
        for formal, plain in _PLAIN.items():
            message = message.replace(formal, plain)
        message = message[0].lower() + message[1:]
    message += f" (it is {_show(given)})"
    return f"{path}: {message}" if path else message


def is_echo(problem: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> bool:
    """True for "too few items" said of a list only because its own items have mistakes."""
    place = problem["loc"]
    return problem["type"] == "too_short" and any(
        other["loc"][: len(place)] == place and len(other["loc"]) > len(place) for other in problems
    )


def _locate(location: Sequence[str | int]) -> tuple[list[str | int], type[BaseModel], Any]:
    """Where pydantic found a problem, in terms of the recipe.

    Returns:
        the keys and list items as people write them; the part that the last key belongs to; the
        type of what should be there, None for an unknown key.
    """
    place: list[str | int] = []
    owner: type[BaseModel] = Recipe
    annotation: Any = Recipe
    for part in location:
        models = _models_in(annotation)
        if isinstance(part, str) and len(models) != 1:
            # The member of a union that was tried; people do not write it.
            tags = dict(zip(_tags(models)[1], models, strict=True)) if models else {}
            annotation = tags.get(part, annotation)
            continue
        place.append(part)
        if isinstance(part, str):
            owner = models[0]
            field = owner.model_fields.get(part)
            annotation = field.annotation if field else None
    return place, owner, annotation


def _suggest_key(key: str, owner: type[BaseModel]) -> str:
    """What an unknown key of a part was meant to be."""
    if key == "freeze" and owner is Finetune:
        return (
            ", use unfreeze: the lowest layer group that is trained (in lite0, freeze: 3 is"
            " unfreeze: blocks.2)"
        )
    homes = dict.fromkeys(_find_key(owner, key))
    if homes:
        return f", did you mean {' or '.join(map(repr, homes))}?"
    known = tuple(owner.model_fields)
    return suggest(key, known) or f"; known here: {', '.join(known)}"


def _find_key(model: type[BaseModel], key: str) -> Iterator[str]:
    """Where in a part, or in the parts it is made of, a key belongs."""
    if key in model.model_fields:
        yield key
    for name, field in model.model_fields.items():
        step = f"{name}.N" if typing.get_origin(field.annotation) is tuple else name
        for inner in _models_in(field.annotation):
            yield from (f"{step}.{rest}" for rest in _find_key(inner, key))


def _expect_mapping(path: str, annotation: Any, given: Any) -> str:
    """What the mapping should hold in whose place something else was written."""
    models = _models_in(annotation)
    shown = _show(given)
    if len(models) > 1:
        key, known = _tags(models)
        return f"must be a mapping with a {key} ({', '.join(known)}), not {shown}"
    fields = models[0].model_fields
    null = " or null" if type(None) in typing.get_args(annotation) else ""
    meant = [name for name, field in fields.items() if given in _words_in(field.annotation)]
    hint = f", did you mean {path}.{meant[0]}: {given}?" if meant else ""
    return f"must be a mapping of {', '.join(fields)}{null}, not {shown}{hint}"


def _tags(models: Sequence[type[BaseModel]]) -> tuple[str, tuple[str, ...]]:
    """The key that tells the members of a union apart, and its value for each."""
    key = "kind" if "kind" in models[0].model_fields else "name"
    return key, tuple(_words_in(model.model_fields[key].annotation)[0] for model in models)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models named in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _models_in(inner)]


def _words_in(annotation: Any) -> tuple[str, ...]:
    """The words that a type annotation allows."""
    inner = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return inner
    return tuple(word for part in inner for word in _words_in(part))


def _show(given: Any) -> str:
    # A whole number of more than 4,300 digits cannot be written.
    return quote(given) if isinstance(given, int) else reprlib.repr(given)


def suggest(word: str, known: Sequence[str]) -> str:
    """The likeliest known word, as a question to end a sentence with; nothing if none is near."""
    # Keras and Lightning people write val_loss.
    word = word.lower().replace("val_", "validation_")
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
