"""The doors over HTTP: Ollama's API and OpenAI's on one port. They parse, translate and print; they decide nothing.

``app.create_app(home)`` is the ASGI application, ``app.serve(home, host)`` runs it.
"""
