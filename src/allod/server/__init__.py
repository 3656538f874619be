"""The doors over HTTP: Ollama's API, OpenAI's, allod's on one port: they parse, translate, print, decide nothing.

``app.create_app(home)`` is the ASGI application, ``app.serve(home, host)`` runs it.

runs_routes.py   allod's own: jobs. Their routes; the rest loads with the first of them
runs_door.py     its handlers            runs_wire.py: bodies and events        runs_log.py: kept in the database
conversations.py which are open, and how many runs at once                      runs.py: one run
"""
