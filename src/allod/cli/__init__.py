"""The command line: one module for each group of commands, imported when one of its commands is typed.

A module of commands has ``register(app)``, which adds them to the Typer app; `app` knows which module has which
command, `failures` turns errors into two lines and an exit code, `output` prints tables and JSON, `progress`
draws bars.

What is imported before the first token of ``allod run`` is answered for by bench/startup.py: modules here import at
their top only what is light, and rich, httpx, prompt_toolkit and the like where they are used.
"""
