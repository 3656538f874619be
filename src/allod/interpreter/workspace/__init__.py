"""A folder that code may change freely without changing it: layers, changes, apply, undo.

workspace.py    a job's layers over its folders; apply, discard, fork
grants.py       what a job may reach besides its folder      folders.py: which folders may be given at all
part.py         one of its folders, and how that was at the start (seen.py)
overlay.py      what is different in a layer; copied.py where the layer is a copy; layer.py: copies of layers
changes.py      the same for people: diffs.py, previews.py (sheets.py, parquet.py), wary.py: what will be run
reach.py        the network that was granted: a proxy outside, relay.py inside      packages.py: what pip installs
transaction.py  many files written all or not at all, by a journal.py      undo.py: what was applied, and taking it back
jobs.py         the record of each job on disk        places.py: which disk can hold the layers
tree.py         files and folders by descriptor, never followed out of the folder      fonts.py: matplotlib's cache
"""

from allod.interpreter.workspace.changes import Applied, Change
from allod.interpreter.workspace.folders import checked
from allod.interpreter.workspace.grants import Grants
from allod.interpreter.workspace.workspace import Workspace

__all__ = ["Applied", "Change", "Grants", "Workspace", "checked"]
