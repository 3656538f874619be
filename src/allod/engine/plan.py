"""How a model would be loaded into a given amount of memory: its files, what was asked for, context and slots.

    files = examine(model, store)
    wish = wishes(model, files, options, settings)
    plan = fitted(files, wish, room)              # None: not even one slot goes into ``room`` bytes

The sums are ``models.memory``'s; what is loaded, and what has to go for it, is the engine's to know.
"""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from msgspec import Struct, structs

from allod.engine.cores import cores
from allod.engine.llama import Load
from allod.engine.options import LoadOptions
from allod.errors import AllodError, BadGGUF, BadRequest, Unsupported
from allod.home import EngineSettings
from allod.models.abilities import own_template
from allod.models.gguf import GGUF, read_header, read_shards
from allod.models.memory import Memory, estimate, largest_context, recurrent_layers
from allod.models.store import Model, Store

CONTEXT = 8192  # tokens a slot where nothing else is said
SMALL_CACHE = 1 / 16  # of the memory for models
ENCODER_SLOTS = 32  # texts of a few words computed together; an encoder has no cache
LEAST_CONTEXT = 1024  # where memory is short and nobody asked for more
LEAST_BATCH, MOST_BATCH = 32, 8192  # tokens
MOST_ADAPTERS = (
    16  # loaded beside one model; each is a part in a hundred of its size, and computed only where it is used
)
AHEAD = 4  # tokens; Ollama's default of draft_num_predict
UBATCH = 512  # tokens computed at once; llama.cpp's default
POOLINGS = {1: "mean", 2: "cls", 3: "last", 4: "rank"}  # llama.h, enum llama_pooling_type


class Files(Struct, frozen=True):
    """What a model is made of, and what its header says."""

    path: Path  # for llama.cpp to open
    gguf: GGUF
    weights: int  # bytes
    projector: Path | None
    projector_bytes: int
    adapters: tuple[tuple[str, Path], ...]  # (digest, file)
    adapter_bytes: int
    digests: tuple[str, ...] = ()  # of the weights
    draft: Path | None = None
    draft_gguf: GGUF | None = None
    template: str = ""  # Jinja, in the place of the GGUF's own

    @property
    def family(self) -> str:
        """The same for models that one child can serve: the same weights, projector, draft and template."""
        return family(self.digests, self.projector, self.draft, self.template)

    @property
    def embedding(self) -> bool:
        """Whether it is made for vectors, not for text."""
        return self.gguf.embedding

    @property
    def reranking(self) -> bool:
        """Whether it is made to score documents."""
        return self.gguf.own("pooling_type") == 4


class Wish(Struct, frozen=True):
    """What is to be loaded, before memory has had its say."""

    context: int
    asked: bool  # the context was asked for, so it is that or nothing
    slots: int  # at most
    asked_slots: bool  # so many and no more were asked for
    batch: int
    threads: int
    gpu_layers: int
    embedding: bool
    binary: str
    speculate: bool = False
    shift: bool = False
    ahead: int = 0  # tokens that a draft model guesses at once; 0: it does not


class Plan(Struct, frozen=True):
    """How it will be loaded, and what that takes."""

    context: int
    slots: int
    memory: Memory


def examine(model: Model, store: Store) -> Files:
    """Looks at a model's files.

    Raises:
        Unsupported: it has no weights that llama.cpp could run.
        BadGGUF: they are damaged.
        NotFound, Disk: they are not there, or not readable.
    """
    if not model.weights:
        raise Unsupported(f"'{model.name}' has no weights that run here", "Pull a GGUF build of it.")
    for path in model.weights:
        read_header(path).check_complete()
    gguf = read_shards(list(model.weights))
    if gguf.kind != "model":
        raise BadGGUF(f"'{model.name}' is no model by itself: it is of kind {gguf.kind}", "Name a model that uses it.")
    return Files(
        path=store.loadable(model),
        gguf=gguf,
        weights=size(*model.weights),
        projector=model.projector,
        projector_bytes=size(model.projector) if model.projector else 0,
        adapters=tuple((digest(path), path) for path in model.adapters),
        adapter_bytes=size(*model.adapters),
        digests=tuple(digest(path) for path in model.weights),
        draft=model.draft,
        draft_gguf=read_header(model.draft) if model.draft else None,
        template=own_template(model),
    )


def family(digests: Iterable[str], projector: Path | None, draft: Path | None, template: str) -> str:
    """`Files.family` of these files."""
    shown = sha256(template.encode()).hexdigest() if template else ""
    return "+".join((*digests, projector.name if projector else "", draft.name if draft else "", shown))


def with_siblings(files: Files, store: Store) -> Files:
    """The same with the adapters of the other models on these weights: loaded together, each is there without a load.

    The newest come first, and only those that are whole; whether they fit this model shows when they are loaded.
    """
    if files.embedding or files.reranking:
        return files
    found = dict(files.adapters)
    for model in store.list():
        own = family(map(digest, model.weights), model.projector, model.draft, own_template(model))
        if own == files.family and model.adapters and len(found) + len(model.adapters) <= MOST_ADAPTERS:
            found |= {digest(path): path for path in model.adapters if is_adapter(path)}
    return structs.replace(files, adapters=tuple(found.items()), adapter_bytes=size(*found.values()))


def is_adapter(path: Path) -> bool:
    """Whether a file is a whole GGUF adapter."""
    try:
        read_header(path).check_complete()
        return read_shards([path]).kind == "adapter"
    except AllodError:
        return False


def digest(blob: Path) -> str:
    """The digest that a blob of the store is named by."""
    return blob.name.replace("-", ":", 1)


def size(*paths: Path) -> int:
    """Bytes of files together."""
    return sum(path.stat().st_size for path in paths)


def wishes(model: Model, files: Files, given: LoadOptions, settings: EngineSettings, most_slots: int) -> Wish:
    """What was asked for: by the request, else by the model's PARAMETERs, else by the settings, else as is usual.

    Raises:
        BadRequest: a context that makes no sense.
    """
    params = model.params
    asked = given.context or int(params.get("num_ctx") or 0)
    if asked < 0:
        raise BadRequest(f"a context of {asked} tokens makes no sense", "Ask for num_ctx of at least 1.")
    context = asked or settings.context or CONTEXT
    if files.gguf.context_length:
        context = min(context, files.gguf.context_length)  # beyond what it was trained for a model babbles
    speculate = settings.speculate and not given.exact and speculates(files)
    ahead = int(params.get("draft_num_predict", AHEAD)) if files.draft and speculate and not given.embedding else 0
    return Wish(
        context=context,
        asked=bool(asked or settings.context),
        slots=given.slots or settings.slots or most_slots,
        asked_slots=bool(given.slots or settings.slots),
        batch=batch_size(given.batch or int(params.get("num_batch") or 0)),
        threads=given.threads or int(params.get("num_thread") or 0) or settings.threads or cores(),
        gpu_layers=given.gpu_layers if given.gpu_layers >= 0 else int(params.get("num_gpu", -1)),
        embedding=given.embedding or files.embedding,
        binary=settings.binary,
        speculate=speculate,
        ahead=ahead,
        shift=given.shift,
    )


def roomy(files: Files, wish: Wish, capacity: int) -> Wish:
    """The wish with twice its slots where their cache is a small part of what all models may take together.

    Small models gain most: with eight answers at once instead of four, SmolLM2 on two cores gives a fifth more tokens.
    Encoders compute what comes in one call together, as many texts as there are slots.
    """
    if wish.asked_slots or (wish.embedding and not files.embedding):
        return wish
    slots = ENCODER_SLOTS if files.embedding else 2 * wish.slots
    more = need(files, wish, wish.context, slots)
    return structs.replace(wish, slots=slots) if more.kv + more.draft <= SMALL_CACHE * capacity else wish


def speculates(files: Files) -> bool:
    """Whether guessed tokens can be taken back: not from a recurrent state, and llama.cpp does not where there are
    pictures."""
    return not (files.embedding or files.reranking or files.projector or recurrent_layers(files.gguf))


def batch_size(asked: int) -> int:
    """Tokens a step; 0 is the engine's own choice. Fewer than 32 end llama.cpp's process, and many bring nothing.

    Raises:
        BadRequest: negative.
    """
    if asked < 0:
        raise BadRequest(f"a batch of {asked} tokens makes no sense", "Ask for num_batch of at least 32.")
    return min(max(asked, LEAST_BATCH), MOST_BATCH) if asked else 0


def need(files: Files, wish: Wish, context: int, slots: int) -> Memory:
    """What it takes with this context and these slots."""
    memory = estimate(
        files.gguf,
        files.weights,
        context,
        slots,
        batch=ubatch(wish, context),
        projector_bytes=files.projector_bytes,
        adapter_bytes=files.adapter_bytes,
    )
    if files.draft and files.draft_gguf and wish.ahead:
        small = estimate(files.draft_gguf, size(files.draft), context, slots, batch=ubatch(wish, context))
        memory = structs.replace(memory, draft=small.total - small.process)
    return memory


def ubatch(wish: Wish, context: int) -> int:
    """Tokens computed at once. A text that is to become a vector has to be computed in one go."""
    return context if wish.embedding else wish.batch or UBATCH


def fitted(files: Files, wish: Wish, room: int) -> Plan | None:
    """The most slots of the wished context that fit into ``room`` bytes; None where not even one does."""
    slots = wish.slots
    while slots:
        memory = need(files, wish, wish.context, slots)
        if memory.fits(room):
            return Plan(wish.context, slots, memory)
        slots = slots * 2 // 3 if slots > 4 else slots - 1
    return None


def shrunk(files: Files, wish: Wish, room: int) -> Wish | None:
    """The wish with a context small enough that one slot fits into ``room``; None where that cannot be, or may not."""
    if fitted(files, wish, room):
        return wish
    if wish.asked:
        return None
    context = min(wish.context, fitting_context(files, wish, room))
    while context >= LEAST_CONTEXT and not need(files, wish, context, 1).fits(room):
        context //= 2  # the working memory of embeddings grows with the context too
    if context < min(LEAST_CONTEXT, wish.context):
        return None
    return structs.replace(wish, context=context, slots=1)


def fitting_context(files: Files, wish: Wish, room: int) -> int:
    """The largest context of one slot that fits into ``room`` bytes; 0: none."""
    return largest_context(
        files.gguf,
        files.weights,
        room - (size(files.draft) if files.draft and wish.ahead else 0),
        batch=wish.batch or UBATCH,
        projector_bytes=files.projector_bytes,
        adapter_bytes=files.adapter_bytes,
    )


def to_load(name: str, files: Files, wish: Wish, plan: Plan) -> Load:
    """What the child is started with."""
    chat_model = wish.embedding and not files.embedding
    pooling = POOLINGS.get(files.gguf.own("pooling_type") or 0, "last" if chat_model else "")
    batch = ubatch(wish, plan.context)
    return Load(
        name=name,
        model=files.path,
        digests=files.digests,
        context=plan.context,
        slots=plan.slots,
        threads=wish.threads,
        projector=None if wish.embedding else files.projector,
        adapters=files.adapters,
        batch=max(batch, 2048) if wish.embedding else wish.batch,
        ubatch=batch,
        gpu_layers=wish.gpu_layers,
        embedding=wish.embedding,
        reranking=files.reranking,
        pooling=pooling,
        binary=wish.binary,
        speculate=wish.speculate and not wish.embedding and not wish.binary,
        draft=files.draft if wish.ahead else None,
        shift=wish.shift,
        template="" if wish.embedding else files.template,
        ahead=wish.ahead,
    )
