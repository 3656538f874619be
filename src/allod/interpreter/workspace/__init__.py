"""A folder that code may change freely without changing it: layers, changes, apply, undo.

workspace.py    a job's layers over its folders; apply, discard, fork
grants.py       what a job may reach besides its folder      folders.py: which folders may be given at all
overlay.py      what is different in a layer          changes.py, diffs.py: the same for people
transaction.py  many files written all or not at all  undo.py: what was applied, and taking it back
jobs.py         the record of each job on disk        places.py: which disk can hold the layers
tree.py         files and folders by descriptor, never followed out of the folder      fonts.py: matplotlib's cache
"""

from allod.interpreter.workspace.changes import Applied, Change
from allod.interpreter.workspace.folders import checked
from allod.interpreter.workspace.grants import Grants
from allod.interpreter.workspace.workspace import Workspace

__all__ = ["Applied", "Change", "Grants", "Workspace", "checked"]
