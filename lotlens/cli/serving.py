"""The command that serves the manager's desk."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from lotlens.cli.improving import print_links
from lotlens.cli.screen import ERR, OUT, VOICE, escape, has_screen, print_next, quote
from lotlens.errors import InputError


def serve(
    run: Annotated[Path, typer.Argument(help="Run folder, or an exported bundle.")],
    port: Annotated[
        int, typer.Option(help="Port to serve at; 0 for any that is free.", min=0, max=65535)
    ] = 8000,
    host: Annotated[
        str,
        typer.Option(
            help="Address to serve at. At 0.0.0.0 people come by links that are printed, programs"
            " by an API key."
        ),
    ] = "127.0.0.1",
    behind: Annotated[
        str | None,
        typer.Option(help="Name under which a proxy with TLS passes requests on to here."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(help="URL of history and corrections; default desk.sqlite in the run."),
    ] = None,
    deals: Annotated[
        Path | None,
        typer.Option(help="Folder of lotlens scan: its list is shown too, to be marked."),
    ] = None,
    new_key: Annotated[
        str | None, typer.Option(help="Make an API key of this name, show it once, and end.")
    ] = None,
    remove_key: Annotated[
        str | None, typer.Option(help="Let the API key of this name open nothing, and end.")
    ] = None,
    corrections: Annotated[
        Path | None,
        typer.Option(help="Write what was corrected as labelled photos to this folder, and end."),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address, open nothing.")
    ] = False,
) -> None:
    """Serve a page and REST that answer for photos of cars, until Ctrl-C."""
    import webbrowser

    from lotlens.verbs import serve as verb

    if sum(one is not None for one in (new_key, remove_key, corrections)) > 1:
        raise InputError("--new-key, --remove-key and --corrections: give one of them")
    if corrections is not None:
        count, num_others = verb.save_corrections(run, corrections, database=database)
        OUT.say(f"{count} corrected {'photo' if count == 1 else 'photos'} written")
        command = f"lotlens improve {quote(run)}"
        if count:
            command += f" --outside {quote(corrections)} --trust-labels"
        if num_others:
            shown = "photo of another car" if num_others == 1 else "photos of other cars"
            OUT.say(f"{num_others} {shown} written")
            command += f" --others {quote(corrections / 'others')}"
        OUT.print(f"folder        {escape(corrections)}", soft_wrap=True)
        print_next(command)
        return
    if new_key is not None:
        key = verb.make_key(run, new_key, database=database)
        ERR.say("This is the only time it is shown.")
        OUT.say(key)
        return
    if remove_key is not None:
        verb.remove_key(run, remove_key, database=database)
        OUT.say(f"{remove_key} opens nothing any more.")
        return

    def tell(desk: verb.Desk) -> None:
        if desk.address is not None:
            OUT.print(f"page          {escape(desk.address)}", soft_wrap=True)
        OUT.say(f"model         {desk.model_id}")
        if desk.links:
            print_links(desk.links)
            if not desk.num_keys:
                OUT.say("no API keys: programs are not let in (--new-key NAME makes one)")
            if behind is None:
                ERR.say(
                    f"warning: served at {host} without encryption, so do it in networks you trust"
                )
        OUT.say("Ctrl-C ends it; what was accepted is answered first.")
        sys.stdout.flush()  # a program that waits for the address reads it through a pipe
        if desk.address is not None and not no_browser and has_screen():
            webbrowser.open(desk.address)

    def tell_visit(device: str, links: tuple[str, ...]) -> None:
        OUT.print(f"let in        {escape(device)}; for another device there is a new link:")
        print_links(links)
        sys.stdout.flush()

    # A line of JSON for each request, without photos or names in it; as programs read them.
    logging.basicConfig(format='{"at": "%(asctime)s", "log": %(message)s}', stream=sys.stderr)
    logging.getLogger("lotlens.desk").setLevel("WARNING" if VOICE.is_quiet else "INFO")
    verb.serve(
        run,
        host=host,
        port=port,
        behind=behind,
        database=database,
        deals=deals,
        lang=VOICE.lang or "en",
        ready=tell,
        visited=tell_visit,
    )
