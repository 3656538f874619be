"""allod: machine intelligence held outright, on your own machine.

Layers, imports only go down (held by import-linter; see docs/architecture.md):

    cli  server                         doors: parse, translate, print
    interpreter                         crafts: what a person wants done
    engine                              running models: leases, queue, runners
    models                              names, store, sources, catalogue, GGUF facts
    chat  home  egress  errors          ground: shared language, folders, network, errors
"""

__version__ = "0.1.0"
