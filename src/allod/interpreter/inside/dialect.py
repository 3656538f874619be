# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false
"""The Python that models learned to write."""


def install(shell, load):
    """Gives a shell the dialect."""
