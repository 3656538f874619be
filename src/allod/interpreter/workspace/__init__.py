"""A folder that code may change freely without changing it: layers, changes, apply, undo.

workspace.py    a job's layers over one folder; apply, discard, fork
overlay.py      what is different in a layer          changes.py, diffs.py: the same for people
transaction.py  many files written all or not at all  undo.py: what was applied, and taking it back
jobs.py         the record of each job on disk        places.py: which disk can hold the layers
tree.py         files and folders by descriptor, never followed out of the folder      fonts.py: matplotlib's cache
"""

from allod.interpreter.workspace.changes import Applied, Change
from allod.interpreter.workspace.workspace import Workspace, checked

__all__ = ["Applied", "Change", "Workspace", "checked"]
