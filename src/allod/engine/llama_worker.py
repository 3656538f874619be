"""The child process behind one loaded model: llama.cpp's own HTTP server, on a loopback port.

Run as a file, never imported by the rest of allod: it needs xllamacpp and the standard library only, so that it loads
the model while its parent is still importing. It reads its parameters as one line of JSON (``Parameters``) from stdin,
writes one line of JSON with its address to stdout once the model is loaded, and logs to stderr. It knows nothing of
names, stores or requests.

With ``command`` among the parameters it becomes that program (a native ``llama-server``) instead; the parent then waits
for the program's own ``/health``.

It lives no longer than its parent: a watcher process kills it when stdin closes, and on Linux the kernel does when the
parent dies.
"""

import json
import os
import signal
import sys
from typing import Any, NoReturn, TypedDict


class Parameters(TypedDict):
    """What the parent says. Sizes are in tokens unless named otherwise; 0 leaves the choice to llama.cpp."""

    parent: int  # process id
    key: str  # bearer that requests must carry
    command: list[str]  # become this program; empty: serve with xllamacpp
    name: str  # what answers call the model
    model: str  # path of a GGUF file
    projector: str  # path of a GGUF file, empty for none
    adapters: list[str]  # paths of GGUF files; applied in full where a request does not say how strongly
    context: int  # of all slots together
    slots: int
    batch: int
    ubatch: int
    threads: int
    gpu_layers: int  # -1: as many as fit
    embedding: bool
    reranking: bool
    pooling: str  # name of a llama_pooling_type, lower case; empty: the model's own
    cache_mib: int  # prompts kept in main memory beside the slots
    slot_folder: str  # where slots may be saved, and restored from; empty: nowhere
    speculate: bool  # guess tokens that came after the same words before, in any slot
    draft: str  # path of a GGUF file of a model that guesses ``ahead`` tokens at once; empty: none
    ahead: int
    shift: bool  # where a slot is full, drop the older half of what it holds
    template: str  # chat template in Jinja; empty: the GGUF's own


def main() -> NoReturn:
    """Reads the parameters, loads, serves until killed. The argument ``native`` says that a program will follow."""
    if sys.argv[1:] != ["native"]:
        import xllamacpp  # noqa: F401  # pyright: ignore[reportUnusedImport]  # while the parent looks for the model
    line = sys.stdin.buffer.readline()
    if not line:
        sys.exit("the parent went away before it said what to load")
    parameters: Parameters = json.loads(line)
    die_with_parent(parameters["parent"])
    be_the_first_to_go()
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints must not be taken for the answer
    if command := parameters["command"]:
        port = free_port()
        print(json.dumps({"address": f"http://127.0.0.1:{port}"}), file=answer, flush=True)
        become([*command, "--port", str(port)], parameters["key"])
    server = load(parameters)
    print(json.dumps({"address": server.listening_address, "build": build()}), file=answer, flush=True)
    answer.close()
    while True:
        signal.pause()


def free_port() -> int:
    """A loopback port that nobody listens on now. If somebody is quicker, the program says so and ends."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def become(command: list[str], key: str) -> NoReturn:
    """Runs a program in this process's place."""
    os.environ["LLAMA_API_KEY"] = key  # argv can be read by every user of the machine
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def die_with_parent(parent: int) -> None:
    """Sees to it that this process, or the program it becomes, ends with its parent, even one killed by SIGKILL."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that call
        os._exit(1)
    worker = os.getpid()
    if os.fork() == 0:
        # A process and not a thread: loading holds the GIL, and exec ends threads.
        os.close(1)
        os.close(2)
        while os.read(0, 4096):
            pass
        if os.getppid() == worker:
            os.kill(worker, signal.SIGKILL)
        os._exit(0)


def be_the_first_to_go() -> None:
    """Where memory runs out, Linux shall end this process, which can be started anew, before the user's others."""
    try:
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"800")
        os.close(score)
    except OSError:  # another system, or a container that has fixed it
        pass


def load(parameters: Parameters) -> Any:
    """Starts llama.cpp's server; returns once the model answers. Exits where it cannot be loaded."""
    import xllamacpp

    engine: Any = xllamacpp
    try:
        return engine.Server(configure(parameters, engine))
    except RuntimeError as error:  # what was wrong stands in the log
        sys.exit(str(error))


def build() -> str:
    """Which llama.cpp this is; its own number is not set in xllamacpp."""
    import xllamacpp

    return f"xllamacpp {xllamacpp.__version__}"


def configure(parameters: Parameters, xllamacpp: Any) -> Any:
    """llama.cpp's parameters for ours."""
    p = xllamacpp.CommonParams()
    p.model.path = parameters["model"]
    p.model_alias = {parameters["name"]}
    p.mmproj.path = parameters["projector"]
    p.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in parameters["adapters"]]
    p.n_ctx = parameters["context"]
    p.n_parallel = parameters["slots"]
    p.n_batch = parameters["batch"] or p.n_batch
    p.n_ubatch = parameters["ubatch"] or p.n_ubatch
    p.n_gpu_layers = parameters["gpu_layers"]
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = parameters["threads"]
    p.cache_ram_mib = parameters["cache_mib"]
    if folder := parameters["slot_folder"]:
        p.slot_save_path = folder + os.sep  # llama.cpp puts the name right behind it
    p.embedding = parameters["embedding"] or parameters["reranking"]
    pooling = "rank" if parameters["reranking"] else parameters["pooling"]
    if pooling:
        p.pooling_type = xllamacpp.llama_pooling_type[f"LLAMA_POOLING_TYPE_{pooling.upper()}"]
    if parameters["draft"]:
        p.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        small = p.speculative.draft
        small.mparams.path, small.n_max = parameters["draft"], parameters["ahead"]
        small.cpuparams.n_threads = small.cpuparams_batch.n_threads = parameters["threads"]
        small.n_gpu_layers = parameters["gpu_layers"]
    elif parameters["speculate"]:
        # Of 8 tokens that came in this order before, the next few are guessed and computed together, which costs less
        # than one by one; longer guesses cost more than they bring on a processor (bench/speculation.py).
        p.speculative.types = [xllamacpp.common_speculative_type.COMMON_SPECULATIVE_TYPE_NGRAM_MOD]
        guess = p.speculative.ngram_mod
        guess.n_match, guess.n_min, guess.n_max = 8, 1, 5
    p.ctx_shift = parameters["shift"]
    p.chat_template = parameters["template"]
    p.api_keys = [parameters["key"]]
    p.port = 0
    p.use_jinja = p.cont_batching = True
    p.endpoint_metrics = p.endpoint_slots = True
    p.warmup = p.ui = False
    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    p.fit_params = any(d["type"] != cpu for d in xllamacpp.get_device_info())  # costs a trial load; only GPUs need it
    p.verbosity = 1  # errors
    return p


if __name__ == "__main__":
    main()
