"""The only door to the network.

    async with egress.client("pull") as http:          # an httpx.AsyncClient
        await http.get("https://registry.ollama.ai/v2/…")

    with egress.door("pull") as door:                  # blocking, for threads that move gigabytes
        answer = door.open("https://registry.ollama.ai/v2/…")

Every request is asked of the policy first and written to the ledger: when, for what purpose, to which host, by which
proxy, how many bytes each way. Loopback is always allowed, and in the ledger marked as such. Not through here go the
pipes and loopback sockets between allod and its own child processes.

There is no telemetry and no update check; nothing else in allod opens a connection.

    policy.py   Egress: the rules, offline mode, and the two ways through
    ledger.py   the record, one row a request
    proxy.py    HTTPS_PROXY and NO_PROXY
    client.py   the way through for httpx
    door.py     the way through for bulk: plain HTTP/1.1 on blocking sockets
    answer.py   what comes back through it
    tunnel.py   a filtering proxy for the code of jobs: granted hosts and no others
    request.py  requests as they come to it      hosts.py: what a granted host stands for
"""

from allod.egress.policy import Egress, is_loopback

__all__ = ["Egress", "is_loopback"]
