"""What a person wants done: a model writes code, the code runs where it harms nothing, its changes are applied on yes.

workspace.py   a folder that code may change freely without changing it; changes, apply, discard, fork
undo.py        what was applied, and taking it back
sandbox.py     where the code runs (bubblewrap)
kernels.py     running it and handing on its output
"""
