"""What runs within the sandbox: the Python kernel of a job and the dialect it speaks.

The sandbox's own Python reads these files in ``/run/allod/inside``; allod imports none of them. They know nothing
of the rest of the package, and what they import costs start-up time of every job.
"""
