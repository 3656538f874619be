"""Conversations about a folder, kept in the home's database: what was said, what happened, which code ran.

    conversation = Conversation.begin(home, folder, "qwen2.5-coder:1.5b", "Total the invoices")
    conversation.record(event)                                 # each event as it comes: what is killed is kept so far
    conversation.add(agent.history, agent.codes, [])           # after each job
    Conversation.last(home, folder)                            # what `allod do --continue` goes on with

A conversation is a tree of turns, a turn being one job: its task, its messages, its events, the code that ran. The
turn at the ``head`` and those above it are what is gone on with; going back and saying something else makes a branch.
Nothing that was said is changed or lost, unless the whole conversation is deleted.

conversation.py  one conversation      turns.py   its tree           recorder.py  events written as they come
finding.py       searching words       database.py  transactions     export/      notebook, Markdown, training data
"""

from allod.interpreter.conversations.conversation import Conversation, Summary
from allod.interpreter.conversations.finding import Found, search
from allod.interpreter.conversations.turns import Said, Turn

__all__ = ["Conversation", "Found", "Said", "Summary", "Turn", "search"]
