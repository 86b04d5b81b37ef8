"""The commands by name: what each is for, and the module that is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command_from_info
from typer.models import CommandInfo

from lotlens.cli.screen import VOICE


class Command(NamedTuple):
    """A command.

    Attributes:
        group: under which the help lists it.
        place: module of this folder and function.
        summary: what it is for, in 55 characters at most, so that no terminal cuts it.
    """

    group: str
    place: str
    summary: str


_START, _JUDGE, _IMPROVE, _DELIVER = "Start", "Judge", "Improve", "Deliver"

COMMANDS: Mapping[str, Command] = {
    "demo": Command(_START, "lots.demo", "See the whole way on drawn photos, in two minutes"),
    "sample": Command(_START, "lots.sample", "Draw a sample lot to try things on"),
    "audit": Command(_START, "lots.audit", "Check photos and labels before training"),
    "split": Command(_START, "lots.split", "Part photos once, for several trainings"),
    "train": Command(_START, "training.train", "Train a model on labelled photos"),
    "evaluate": Command(_JUDGE, "judging.evaluate", "Say how good a model is; write a report"),
    "compare": Command(_JUDGE, "judging.compare", "Say which of two models is better, if any"),
    "doubts": Command(_JUDGE, "improving.doubts", "Find labels that look wrong"),
    "review": Command(_JUDGE, "improving.review", "Look at doubts on a page, and decide"),
    "improve": Command(
        _IMPROVE, "improving.improve", "Train a better model from what is known now"
    ),
    "rounds": Command(_IMPROVE, "improving.rounds", "List what each round of improvement brought"),
    "sweep": Command(_IMPROVE, "training.sweep", "Try several settings, and test which is better"),
    "lr-find": Command(_IMPROVE, "training.lr_find", "Find a learning rate to begin with"),
    "locator": Command(
        _IMPROVE, "training.locator", "Add a detector that finds the car in a photo"
    ),
    "views": Command(_IMPROVE, "judging.views", "See whether mirrored or closer views help"),
    "ensemble": Command(
        _IMPROVE, "judging.ensemble", "Let several models answer together, if that helps"
    ),
    "predict": Command(
        _DELIVER, "answering.predict", "Answer for photos: a table, or a submission"
    ),
    "serve": Command(_DELIVER, "serving.serve", "Serve a page and REST that answer for photos"),
    "scan": Command(_DELIVER, "market.scan", "Find offers worth a call among adverts"),
    "price": Command(_DELIVER, "market.price", "Price adverts by what a scan has learnt"),
    "refusal": Command(_DELIVER, "judging.refusal", "Show or set when a model gives no name"),
    "export": Command(_DELIVER, "answering.export", "Write a model that answers without torch"),
}
"""Name of each command -> what it is. The help reads this alone: it loads no command."""


class Commands(TyperGroup):
    """A group that builds a command when it is asked for: a tenth of the time of all."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # What did-you-mean compares with; nothing but the names is looked at.
        names: Any = dict.fromkeys(COMMANDS)
        self.commands = names

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        return build_command(cmd_name) if cmd_name in COMMANDS else None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] == ["help"]:  # as git and others have it
            args = [*args[1:2], "--help"]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)  # what there is to do comes first
        TyperCommand.format_options(self, ctx, formatter)  # type: ignore[arg-type]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx
        width = max(map(len, COMMANDS))
        for group in dict.fromkeys(command.group for command in COMMANDS.values()):
            rows = [
                (name.ljust(width), command.summary)
                for name, command in COMMANDS.items()
                if command.group == group
            ]
            with formatter.section(group):
                formatter.write_dl(rows)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        item = _find_completion_item()
        names = [name for name in (*COMMANDS, "help") if name.startswith(incomplete)]
        options = super(TyperGroup, self).shell_complete(ctx, incomplete)
        told = {name: command.summary for name, command in COMMANDS.items()}
        return [item(name, help=told.get(name)) for name in names] + options


def build_command(name: str) -> Any:
    """The command of this name, whose module is loaded."""
    module, _, function = COMMANDS[name].place.partition(".")
    callback = getattr(import_module(f"lotlens.cli.{module}"), function)
    command: Any = get_command_from_info(
        CommandInfo(name=name, callback=callback),
        pretty_exceptions_short=False,
        rich_markup_mode=None,
    )
    command.params += _build_voice_options()
    return command


def _find_completion_item() -> Any:
    """The class of what a shell is offered: typer's own, or of older ones click's."""
    try:
        return import_module("typer._click.shell_completion").CompletionItem
    except ModuleNotFoundError:
        return import_module("click.shell_completion").CompletionItem


def _build_voice_options() -> list[Any]:
    """-q, -v and --lang, which every command has."""

    def set_quiet(ctx: Any, param: Any, value: bool) -> None:
        del ctx, param
        VOICE.is_quiet = value

    def set_verbose(ctx: Any, param: Any, value: bool) -> None:
        del ctx, param
        VOICE.is_verbose = value

    def set_lang(ctx: Any, param: Any, value: str | None) -> None:
        del ctx, param
        if value is not None:
            set_language(value)

    lang = TyperOption(
        param_decls=["--lang"],
        show_default=False,
        expose_value=False,
        callback=set_lang,
        help="Language of screen, report and page: en or ru.",
    )
    flags = [
        TyperOption(
            param_decls=list(names),
            is_flag=True,
            default=False,
            show_default=False,
            expose_value=False,
            callback=callback,
            help=help_,
        )
        for names, callback, help_ in (
            (("-q", "--quiet"), set_quiet, "Print the result alone: no progress, no hints."),
            (("-v", "--verbose"), set_verbose, "Print the numbers behind the result too."),
        )
    ]
    return [lang, *flags]


def set_language(code: str | None) -> None:
    """Have the command speak a language; None for none in particular.

    Raises:
        InputError: lotlens does not know it.
    """
    if code not in (None, "en"):
        from lotlens.report.language import load_language

        load_language(code)
    VOICE.lang = code
