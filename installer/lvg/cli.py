"""The two commands: `lvg-install` applies a profile, `lvg` holds every other verb."""

import dataclasses
import os
import sys
from typing import Any, List, Optional  # noqa: UP035 - Typer 0.7 reads these forms

# Rich doubles the start-up time and turns help into box art that scripts and man pages cannot read.
os.environ.setdefault("TYPER_USE_RICH", "0")
_modules: dict[str, Any] = sys.modules  # None in it makes an import fail
_modules.setdefault("rich", None)
import typer  # noqa: E402

if _modules["rich"] is None:
    del _modules["rich"]

from lvg import __version__, commands  # noqa: E402
from lvg.stopvm import streams  # noqa: E402

_CONTEXT = {"help_option_names": ["-h", "--help"]}
_ROOT = typer.Option(None, "--root", metavar="DIR", help="Work on the system tree below DIR, not on this host.")
_JSON = typer.Option(False, "--json", help="Answer with one JSON document on stdout.")
_VERBOSE = typer.Option(False, "--verbose", "-v", help="Say more; add the traceback to an error.")
_QUIET = typer.Option(False, "--quiet", "-q", help="Say nothing but warnings and errors.")
_FORCE = typer.Option(False, "--force", help="Go on where lvg would refuse; a checkpoint keeps what is replaced.")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lvg {__version__}")
        raise typer.Exit(0)


_VERSION = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True)

install_app = typer.Typer(pretty_exceptions_enable=False, context_settings=_CONTEXT)
app = typer.Typer(
    pretty_exceptions_enable=False,
    context_settings=_CONTEXT,
    help="Show, check and undo what lvg-install did: libvirt guests end cleanly when the host goes down.",
)


@install_app.command()
def install(  # noqa: PLR0913, PLR0917 - one parameter for each option
    profile: str = typer.Option("", "--profile", "-p", metavar="NAME|PATH", help="The profile to apply."),
    sets: Optional[List[str]] = typer.Option(  # noqa: UP006, B008 - see above
        None, "--set", metavar="KEY=VALUE", help="Change one value: KEY as in libvirt-guests, key as in [stopvm]."
    ),
    root: Optional[str] = _ROOT,
    distro: str = typer.Option("", "--distro", metavar="ID", help="Believe this os-release ID, not the host's."),
    config_file: str = typer.Option(
        "", "--config-file", metavar="PATH", help="The file that libvirt-guests reads, inside the root."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", "-n", help="Show every change; change nothing."),
    keep: bool = typer.Option(False, "--keep", help="Leave what the admin has set; add only what is missing."),
    overlay: bool = typer.Option(False, "--overlay", help="Lay a copy over the package's file; do not edit it."),
    force: bool = _FORCE,
    no_enable: bool = typer.Option(False, "--no-enable", help="Do not enable any unit."),
    no_start: bool = typer.Option(False, "--no-start", help="Do not start any unit."),
    as_json: bool = _JSON,
    quiet: bool = _QUIET,
    verbose: bool = _VERBOSE,
    version: bool = _VERSION,
) -> None:
    """Set this libvirt host up by a profile, so that its guests end cleanly when it goes down.

    Nothing is ever stopped or restarted. Exit codes: 0 done or nothing to do, 1 failed and put back,
    2 usage, 4 refused without --force, 5 needs root, 7 unsupported distro, 8 no libvirt-guests.
    """
    from lvg.commands.install import InstallWish, command_of  # noqa: PLC0415 - no other verb needs it
    from lvg.commands.install import install as body  # noqa: PLC0415

    wish = InstallWish(
        profile=profile,
        sets=tuple(sets or ()),
        root=root,
        distro=distro,
        config_file=config_file,
        dry_run=dry_run,
        keep=keep,
        overlay=overlay,
        force=force,
        enable=not no_enable,
        start=not no_start,
        as_json=as_json,
        quiet=quiet,
        command=(),
    )
    wish = dataclasses.replace(wish, command=command_of(wish))
    raise typer.Exit(commands.speaking("lvg-install", verbose, lambda: body(wish)))


@app.callback(invoke_without_command=True)
def verbs(context: typer.Context, version: bool = _VERSION) -> None:
    """Show, check and undo what lvg-install did: libvirt guests end cleanly when the host goes down."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def detect(
    root: Optional[str] = _ROOT,
    distro: str = typer.Option("", "--distro", metavar="ID", help="Believe this os-release ID, not the host's."),
    config_file: str = typer.Option("", "--config-file", metavar="PATH", help="Believe that this file counts."),
    as_json: bool = _JSON,
    verbose: bool = _VERBOSE,
) -> None:
    """Say what this host is and which file its libvirt-guests reads, with the evidence. Exit 0."""
    body = lambda: commands.detect(root, distro, config_file, as_json)  # noqa: E731
    raise typer.Exit(commands.speaking("lvg detect", verbose, body))


@app.command()
def profiles(
    name: str = typer.Argument("", metavar="[NAME]", help="Show this profile whole, with where each value comes from."),
    root: Optional[str] = _ROOT,
    as_json: bool = _JSON,
    verbose: bool = _VERBOSE,
) -> None:
    """List the profiles, or show one as it is after merging."""
    raise typer.Exit(commands.speaking("lvg profiles", verbose, lambda: commands.profiles(name, root, as_json)))


@app.command()
def status(root: Optional[str] = _ROOT, as_json: bool = _JSON, quiet: bool = _QUIET, verbose: bool = _VERBOSE) -> None:
    """Say whether this host still is what was applied. Exit 0: it is; 3: it drifted; 6: nothing applied."""
    raise typer.Exit(commands.speaking("lvg status", verbose, lambda: commands.status(root, as_json, quiet)))


@app.command()
def doctor(as_json: bool = _JSON, quiet: bool = _QUIET, verbose: bool = _VERBOSE) -> None:
    """Say whether the guests would end cleanly if this host went down now. Exit 0: yes, or warnings; 9: a failure."""
    from lvg.commands.doctor import doctor as body  # noqa: PLC0415 - libvirt and Rich are not loaded for other verbs

    raise typer.Exit(commands.speaking("lvg doctor", verbose, lambda: body(as_json, quiet, verbose)))


@app.command()
def plan(
    ups: Optional[float] = typer.Option(None, "--ups", metavar="SECONDS", help="How long the UPS lasts."),
    svg: str = typer.Option("", "--svg", metavar="FILE", help="Write the picture to FILE."),
    as_json: bool = _JSON,
    verbose: bool = _VERBOSE,
) -> None:
    """Show the next shutdown and the next boot before they happen. Exit 9: the worst case takes too long."""
    from lvg.commands.plan import plan as body  # noqa: PLC0415 - see above

    raise typer.Exit(commands.speaking("lvg plan", verbose, lambda: body(ups, svg, as_json, verbose)))


@app.command()
def rehearse(
    guests: List[str] = typer.Argument(  # noqa: UP006, B008 - see above
        ..., metavar="GUEST...", help="The guests to stop and start, by name."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
    as_json: bool = _JSON,
    verbose: bool = _VERBOSE,
) -> None:
    """Stop these guests now as a shutdown of the host would, start them again, and say how long it took."""
    from lvg.commands.rehearse import rehearse as body  # noqa: PLC0415 - see above

    raise typer.Exit(commands.speaking("lvg rehearse", verbose, lambda: body(tuple(guests), yes, as_json)))


@app.command()
def report(  # noqa: PLR0913, PLR0917 - one parameter for each option
    last: int = typer.Option(1, "--last", metavar="N", help="Show the last N shutdowns."),
    record: str = typer.Option("", "--id", metavar="ID", help="Show this one; `lvg report --json` has the ids."),
    svg: str = typer.Option("", "--svg", metavar="FILE", help="Write the picture to FILE."),
    root: Optional[str] = _ROOT,
    as_json: bool = _JSON,
    verbose: bool = _VERBOSE,
) -> None:
    """Show the last shutdowns: when, how long, and what became of each guest."""
    from lvg.commands.report import report as body  # noqa: PLC0415 - see above

    raise typer.Exit(commands.speaking("lvg report", verbose, lambda: body(last, record, svg, root, as_json)))


@app.command()
def rollback(root: Optional[str] = _ROOT, force: bool = _FORCE, quiet: bool = _QUIET, verbose: bool = _VERBOSE) -> None:
    """Undo the last apply: every byte and link is what it was before it. Nothing is stopped."""
    body = lambda: commands.undo(root, force, quiet, everything=False)  # noqa: E731
    raise typer.Exit(commands.speaking("lvg rollback", verbose, body))


@app.command()
def remove(root: Optional[str] = _ROOT, force: bool = _FORCE, quiet: bool = _QUIET, verbose: bool = _VERBOSE) -> None:
    """Undo every apply: the host is what it was before lvg. Nothing is stopped."""
    body = lambda: commands.undo(root, force, quiet, everything=True)  # noqa: E731
    raise typer.Exit(commands.speaking("lvg remove", verbose, body))


def main_install() -> None:
    """Run lvg-install."""
    streams.prepare()
    install_app(prog_name="lvg-install")


def main() -> None:
    """Run lvg."""
    streams.prepare()
    app(prog_name="lvg")
