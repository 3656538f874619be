"""What runs within the sandbox: its supervisor, the kernels of a job and the Python that it speaks.

supervisor.py  starts kernels on request        bridge.py: makes a kernel that somebody else wrote reachable
start.py       the Python kernel: shell.py, failure.py, figures.py, modules.py, names.py, dialect*.py
shell_kernel.py  the shell's kernel, over wire.py

The sandbox's own Python reads these files in ``/run/allod/inside``; allod imports none of them. They know nothing
of the rest of the package, and what they import costs start-up time of every job.
"""
