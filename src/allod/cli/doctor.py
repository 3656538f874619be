"""``allod doctor``: is everything in order, what is missing, what to type. The looking is in ``checks.py``."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allod.cli.checks import Check


def register(app: typer.Typer) -> None:
    """Adds ``doctor``."""
    app.command("doctor")(doctor)


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check machine and installation; say what to type to mend them."""
    import asyncio

    from allod.cli.checks import check_all
    from allod.cli.output import print_json

    found: list[Check] = []

    async def look() -> None:
        async for check in check_all():
            found.append(check)
            if not as_json:
                print_check(check)

    asyncio.run(look())
    if as_json:
        from msgspec.structs import asdict

        print_json([asdict(check) for check in found])
    if any(check.state == "fail" for check in found):
        raise typer.Exit(1)


def print_check(check: "Check") -> None:
    """A line as soon as it is known, and below it what mends it."""
    print(f"{check.state:<4}  {check.name:<11} {check.says}", flush=True)
    if check.mend:
        print(f"{'':<18}→ {check.mend}", flush=True)
