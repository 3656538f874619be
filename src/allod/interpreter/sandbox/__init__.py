"""Where code runs: a program that sees one folder, touches nothing of it, and uses no more than it may.

bubblewrap.py   the sandbox itself: mounts, namespaces, the process and its end
ladder.py       which sandbox works here: bubblewrap, else one of the weaker ones
landlock.py     without namespaces, over a copy of the folder; and none at all  launch.py: above its programs
seatbelt.py     macOS's                                                        seccomp.py: refused system calls
limits.py       memory, time, disk and processes; what is used of them        cgroup.py: held to by the kernel

It knows nothing of jobs, kernels or changes.
"""

from allod.interpreter.sandbox.bubblewrap import Layer, Process, Sandbox, View, environment
from allod.interpreter.sandbox.limits import Limits

__all__ = ["Layer", "Limits", "Process", "Sandbox", "View", "environment"]
