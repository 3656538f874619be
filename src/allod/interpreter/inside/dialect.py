"""The Python that models learned to write."""


def install(shell, load):
    """Gives a shell the dialect."""
