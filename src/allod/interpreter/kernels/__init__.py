"""Running code in a kernel inside the sandbox, and handing on what it gives.

kernel.py   a kernel over a workspace: start, run, interrupt, end      run.py: one execution
machine.py  the one sandbox of a workspace, in which all its kernels' programs run
specs.py    the languages there are: Python, the shell, every installed Jupyter kernel, Deno
outputs.py  what a run gives, as data        spool.py: the whole of it on disk, head and tail handed on
inside/     what runs inside, beside the user's code; imports nothing of allod
"""

from allod.interpreter.kernels.kernel import Kernel

__all__ = ["Kernel"]
