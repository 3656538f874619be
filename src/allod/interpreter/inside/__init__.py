"""What runs within the sandbox: the Python kernel of a job and the dialect it speaks.

These files are read by the sandbox's own Python as ``/run/allod/inside``, not imported by allod: they know nothing of the
rest of the package, and everything they import costs start-up time of every job.
"""
