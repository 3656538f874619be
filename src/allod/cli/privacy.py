"""``allod privacy``: what left this machine, ever, and whether anything may.

Reads the ledger that ``egress`` writes, in the home's database, without importing what can open connections.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from allod.home import Home

TOTALS = """
    SELECT host, purpose, loopback, count(*) AS requests, sum(sent) AS sent, sum(received) AS received,
           sum(outcome = 'refused') AS refused, max(at) AS last
    FROM ledger GROUP BY host, purpose, loopback ORDER BY loopback, last DESC
"""
LAST = """
    SELECT at, purpose, host, port, loopback, method, path, sent, received, status, outcome
    FROM ledger ORDER BY id DESC LIMIT ?
"""


def register(app: typer.Typer) -> None:
    """Adds ``privacy``."""
    app.command("privacy")(privacy)


def privacy(
    last: Annotated[int, typer.Option("--last", "-n", min=0, help="How many of the latest requests to show.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what left this machine: every request, to whom and why."""
    from allod.cli.output import print_json
    from allod.home import Home

    home = Home.open()
    totals, rows = read_ledger(home, last)
    if as_json:
        print_json({"offline": home.settings.offline, "totals": totals, "last": rows})
        return
    print_state(home)
    if not totals:
        print("No request was ever made.")
        return
    print_totals(totals)
    if rows:
        print_rows(rows)


def read_ledger(home: "Home", last: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sums by host and purpose, and the latest rows. Makes no database where there is none."""
    if not (home.data / "allod.db").exists():
        return [], []
    db = home.db()
    try:
        totals = [{**dict(row), "loopback": bool(row["loopback"])} for row in db.execute(TOTALS)]
        rows = [{**dict(row), "loopback": bool(row["loopback"])} for row in db.execute(LAST, (last,))]
    finally:
        db.close()
    return totals, rows


def print_state(home: "Home") -> None:
    """What the policy allows."""
    if home.settings.offline:
        print("Offline mode is on: every connection but those on this machine is refused.")
    else:
        print("Offline mode is off. `ALLOD_OFFLINE=1`, or `offline = true` in config.toml, refuses every connection.")
    print("allod sends no telemetry and looks for no updates.\n")


def print_totals(totals: list[dict[str, Any]]) -> None:
    """A line for each host and purpose; what stayed on this machine is one line at the end."""
    from allod.cli.output import print_table, size

    away = [t for t in totals if not t["loopback"]]
    here = [t for t in totals if t["loopback"]]
    if away:
        print_table(
            ("HOST", "PURPOSE", "REQUESTS", "SENT", "RECEIVED", "REFUSED", "LAST"),
            [
                (t["host"], t["purpose"], str(t["requests"]), size(t["sent"]), size(t["received"]),
                 str(t["refused"]), local(t["last"]))
                for t in away
            ],
        )  # fmt: skip
    else:
        print("Nothing ever left this machine.")
    if here:
        print(f"\nOn this machine only: {sum(t['requests'] for t in here)} requests.")


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The latest requests, newest first."""
    from allod.cli.output import print_table, size

    print("\nLatest requests")
    print_table(
        ("WHEN", "PURPOSE", "WHERE", "SENT", "RECEIVED", "OUTCOME"),
        [
            (local(r["at"]), r["purpose"], f"{r['host']}{r['path']}"[:60], size(r["sent"]), size(r["received"]),
             f"{r['outcome']} {r['status'] or ''}".strip())
            for r in rows
        ],
    )  # fmt: skip


def local(at: str) -> str:
    """A stored time in the local zone, to the minute."""
    from datetime import datetime

    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"
