"""What a person wants done: a model writes code, the code runs where it harms nothing, its changes are applied on yes.

agent.py         does jobs: looks, reads, tries, and tries afresh        attempt.py, turn.py: one try, one answer
prompt.py        the words the model is asked with                       profiles/: prompt, limits, sampling as data
listing.py       what the folder holds, in few words                     probe/: the looking, inside the sandbox
checks.py        what can be seen to be missing in a result              session.py: the kernel as the agent uses it
blocks.py        code found in what a model says, as it says it          calls.py, quotes.py, languages.py
interpreter.py   what doors and programs stand on: jobs, changes, the conversation; blocking.py the same without async
given.py         files that go with a job
events.py        what happens, as data for terminal, page and export
conversations/   what was said and done, in the database                 replay.py: variables brought back from it

workspace/       a folder that code may change freely without changing it; changes, apply, undo, fork
sandbox/         where the code runs        kernels/: running it and handing on its output
"""
