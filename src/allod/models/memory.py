"""How much memory a model takes, term by term.

    need = estimate(gguf, file_bytes, context=8192, slots=4)
    if not need.fits(free := available("6GB")):
        raise too_large("qwen2.5:72b", need, free)

The terms are those of a llama.cpp process on the CPU, and their sum is meant to be what it really takes, a little over
and never under. Its formulas are llama.cpp's own (llama-kv-cache*.cpp, llama-graph.cpp, ggml-cpu/repack.cpp); the
constants were fitted to processes that ran (bench/memory.py). Shapes the header does not tell are taken at their worst.
How much there is, ``ram.py`` finds out; which models are loaded, the engine knows and adds up.
"""

import math
import platform
from collections.abc import Sequence
from typing import cast

from msgspec import Struct

from allod.errors import BadGGUF, TooLarge
from allod.models.gguf import GGUF
from allod.models.ram import available, free_swap, human, parse_bytes

__all__ = [
    "Memory",
    "Shape",
    "available",
    "estimate",
    "free_swap",
    "human",
    "largest_context",
    "parse_bytes",
    "repacked_bytes",
    "too_large",
]

MIB = 1 << 20
KV_PAD = 256  # llama.cpp rounds a slot's context up to this
LARGEST_DEPTH = 4096  # layers
STEP = 256  # contexts are offered in multiples of this

# Fitted: code, threads and buffers of the process, and its tables for each token of the vocabulary.
PROCESS = 48 * MIB
VOCABULARY = 420
SLOT = 1 * MIB
PICTURE = 0.5  # of a projector's file: its working memory for one picture; a guess, no projector was measured yet

# Architectures in which llama.cpp gives most layers a sliding window: every n-th layer sees the whole context.
# Elsewhere it ignores the window that the header may name, and so does the sum.
WINDOWED = {
    "cohere2": 4,
    "exaone4": 4,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma4": 6,
    "gpt-oss": 2,
    "llama4": 4,
    "olmo3": 4,
}

# Tensor types that llama.cpp copies into another order for the CPU; beside a mapped file the copy comes on top.
X86 = frozenset({"Q4_0", "Q4_K", "IQ4_NL", "MXFP4"})
ARM = frozenset({"Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "MXFP4"})
REPACKED = {"x86_64": X86, "AMD64": X86, "aarch64": ARM, "arm64": ARM}


class Memory(Struct, frozen=True):
    """Bytes of a loaded model. ``total`` is their sum."""

    weights: int
    copies: int  # weights in the CPU's order, beside the mapped file
    kv: int  # the cache of all slots, and the state of recurrent layers
    compute: int  # working memory of one batch, and the logits
    projector: int  # weights and working memory of what reads pictures
    process: int  # everything else
    context: int  # tokens a slot that this is for
    slots: int
    draft: int = 0  # a model that guesses ahead, with its own cache

    @property
    def total(self) -> int:
        """All terms."""
        return self.weights + self.copies + self.kv + self.compute + self.projector + self.draft + self.process

    def fits(self, free: int) -> bool:
        """Whether it all goes into ``free`` bytes."""
        return self.total <= free

    def terms(self) -> list[tuple[str, int]]:
        """``(what, bytes)`` of every term that is not nothing."""
        slots = f"{self.slots} slots of {self.context}" if self.slots > 1 else f"{self.context}"
        named = [
            ("weights", self.weights),
            ("weights in the CPU's order", self.copies),
            (f"cache for {slots} tokens", self.kv),
            ("working memory", self.compute),
            ("projector", self.projector),
            ("draft model", self.draft),
            ("process", self.process),
        ]
        return [(what, count) for what, count in named if count]

    def lines(self) -> list[str]:
        """The sum as a small table, a line a term and one for the total."""
        rows = [*self.terms(), ("total", self.total)]
        width = max(len(what) for what, _ in rows)
        return [f"{what:<{width}}  {human(count):>9}" for what, count in rows]

    def sum(self) -> str:
        """The sum on one line: ``2.1 GB = weights 1.1 GB + …``."""
        return f"{human(self.total)} = " + " + ".join(f"{what} {human(count)}" for what, count in self.terms())


class Shape(Struct, frozen=True):
    """What a model's memory depends on, by layer."""

    kv: tuple[int, ...]  # values of K and V a token, for each layer with a cache
    windowed: tuple[bool, ...]  # whether that layer sees a window only
    window: int  # tokens
    state: int  # values a slot of all recurrent layers together
    embedding: int
    feed_forward: int  # values a token of a layer's widest product
    vocabulary: int

    @classmethod
    def of(cls, gguf: GGUF) -> "Shape":
        """The shape that a header tells. Raises BadGGUF where it tells nonsense."""
        layers = range(gguf.block_count)
        if len(layers) > LARGEST_DEPTH:
            raise BadGGUF(f"{gguf.path} says it has {len(layers)} layers", "Get the file again.")
        recurrent = recurrent_layers(gguf)
        windowed = windows(gguf)
        cached = [i for i in layers if i not in recurrent][
            : gguf.block_count - gguf.number("attention.shared_kv_layers")
        ]
        kv = {i: layer_values(gguf, i, windowed[i]) for i in cached}
        return cls(
            kv=tuple(kv[i] for i in cached if kv[i]),
            windowed=tuple(windowed[i] for i in cached if kv[i]),
            window=gguf.number("attention.sliding_window"),
            state=len(recurrent) * state_values(gguf),
            embedding=max(gguf.embedding_length, gguf.head_count * gguf.number("attention.key_length")),
            feed_forward=feed_forward(gguf),
            vocabulary=gguf.vocabulary,
        )

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes a token of the whole context takes in f16, windows not counted."""
        return 2 * sum(self.kv)

    def cells(self, windowed: bool, context: int, batch: int) -> int:
        """Tokens that a layer's cache holds for one slot."""
        context = pad(context, KV_PAD)
        return min(context, pad(self.window + batch, KV_PAD)) if windowed and self.window else context

    def kv_bytes(self, context: int, slots: int, batch: int, cache_bytes: float) -> int:
        """Bytes of the caches of all slots, recurrent state (always f32) included."""
        pairs = zip(self.kv, self.windowed, strict=True)
        values = sum(count * self.cells(windowed, context, batch) for count, windowed in pairs)
        return math.ceil(values * slots * cache_bytes) + 4 * self.state * slots

    def compute_bytes(self, context: int, slots: int, batch: int) -> int:
        """Bytes of the graph of one batch: feed-forward, hidden states, attention mask; and the logits.

        The graph's allocator keeps three feed-forward results and five hidden states alive at once; with flash
        attention, which llama.cpp uses wherever it can, the mask is all that grows with the context.
        """
        token = 4 * (3 * self.feed_forward + 5 * self.embedding) + 2 * pad(context, KV_PAD) + 64
        return batch * token + 2 * 4 * slots * self.vocabulary


def estimate(
    gguf: GGUF,
    file_bytes: int,
    context: int,
    slots: int = 1,
    *,
    cache_bytes: float = 2,
    batch: int = 512,
    projector_bytes: int = 0,
    adapter_bytes: int = 0,
    mapped: bool = True,
) -> Memory:
    """What a loaded model takes.

    Args:
        gguf: the header; of a split model with all its tensors (``read_shards``).
        file_bytes: size of the model's file or files.
        context: tokens a slot. For one cache that all slots share, give its size and 1 slot.
        slots: requests at once.
        cache_bytes: bytes a value in the cache: 2 for f16, 34 / 32 for q8_0.
        batch: tokens computed at once (llama.cpp's ubatch).
        projector_bytes: size of the projector's file.
        adapter_bytes: size of the adapters' files.
        mapped: whether the file is mapped into memory, as llama.cpp does by itself, rather than read.
    """
    shape = Shape.of(gguf)
    return Memory(
        weights=file_bytes + adapter_bytes,
        copies=repacked_bytes(gguf) if mapped else 0,
        kv=shape.kv_bytes(context, slots, batch, cache_bytes),
        compute=shape.compute_bytes(context, slots, batch),
        projector=math.ceil(projector_bytes * (1 + PICTURE)),
        process=PROCESS + VOCABULARY * shape.vocabulary + SLOT * slots,
        context=context,
        slots=slots,
    )


def largest_context(
    gguf: GGUF,
    file_bytes: int,
    free: int,
    slots: int = 1,
    *,
    cache_bytes: float = 2,
    batch: int = 512,
    projector_bytes: int = 0,
    adapter_bytes: int = 0,
    mapped: bool = True,
) -> int:
    """The most tokens a slot that fit into ``free`` bytes, in steps of 256, at most what the model was trained for.

    0: the model does not fit at all. Arguments as in ``estimate``.
    """

    def fits(steps: int) -> bool:
        need = estimate(
            gguf,
            file_bytes,
            steps * STEP,
            slots,
            cache_bytes=cache_bytes,
            batch=batch,
            projector_bytes=projector_bytes,
            adapter_bytes=adapter_bytes,
            mapped=mapped,
        )
        return need.fits(free)

    low, high = 0, (gguf.context_length or 1 << 20) // STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low * STEP


def too_large(name: str, need: Memory, free: int, largest: int = 0) -> TooLarge:
    """The error for a model that does not fit; ``largest`` is the context that would."""
    remedy = f"A context of {largest} tokens would fit." if largest else "Take a smaller model or quantisation."
    return TooLarge(f"{name} needs {need.sum()}, but {human(free)} are free", remedy)


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def layer_values(gguf: GGUF, layer: int, windowed: bool) -> int:
    """Values of K and V that one token takes in a layer; 0 for a layer without attention."""
    width = gguf.embedding_length // gguf.head_count if gguf.head_count else 0
    heads = at(gguf.per_layer("attention.head_count_kv") or gguf.per_layer("attention.head_count"), layer)
    key = gguf.number("attention.key_length") or width
    value = gguf.number("attention.value_length") or width
    if windowed:
        key = gguf.number("attention.key_length_swa") or key
        value = gguf.number("attention.value_length_swa") or value
    return heads * (key + value)


def windows(gguf: GGUF) -> list[bool]:
    """Which layers see a window only."""
    count = gguf.block_count
    every = WINDOWED.get(gguf.architecture, 0)
    said = gguf.own("attention.sliding_window_pattern")
    if not every:
        return [False] * count
    if isinstance(said, tuple):
        flags = cast("tuple[object, ...]", said)
        return [bool(flags[i]) if i < len(flags) else False for i in range(count)]
    every = said if type(said) is int and said > 0 else every
    return [(i + 1) % every != 0 for i in range(count)]


def recurrent_layers(gguf: GGUF) -> set[int]:
    """Layers that keep a state of fixed size instead of a cache."""
    layers = range(gguf.block_count)
    if interval := gguf.number("full_attention_interval"):
        return {i for i in layers if (i + 1) % interval}
    heads = gguf.per_layer("attention.head_count_kv")
    if len(heads) > 1:
        return {i for i in layers if at(heads, i) == 0}
    alone = gguf.number("ssm.state_size") or gguf.number("wkv.head_size")
    return set(layers) if alone and not gguf.head_count else set()


def state_values(gguf: GGUF) -> int:
    """Values of one recurrent layer's state (llama_hparams::n_embd_r and n_embd_s), by whatever kind is larger."""
    inner, state = gguf.number("ssm.inner_size"), gguf.number("ssm.state_size")
    groups, kernel = gguf.number("ssm.group_count"), gguf.number("ssm.conv_kernel")
    mamba = max(kernel - 1, 0) * (inner + 2 * groups * state) + state * inner
    short = max(gguf.number("shortconv.l_cache") - 1, 0) * gguf.embedding_length
    rwkv = gguf.embedding_length * (2 + gguf.number("wkv.head_size")) if gguf.number("wkv.head_size") else 0
    return max(mamba, short, rwkv)


def feed_forward(gguf: GGUF) -> int:
    """Values a token of a layer's widest feed-forward product: dense, or all experts used and the shared ones."""
    used = gguf.number("expert_used_count") * gguf.number("expert_feed_forward_length")
    shared = gguf.number("expert_shared_feed_forward_length")
    return max(gguf.number("feed_forward_length"), used + shared, gguf.number("ssm.inner_size"))


def repacked_bytes(gguf: GGUF, machine: str = "") -> int:
    """Bytes of the weights that llama.cpp copies into the CPU's order (ggml-cpu/repack.cpp); ``machine``: uname's.

    These are matrices of some types with rows in multiples of 8, and not the token embeddings, which are looked up.
    """
    types = REPACKED.get(machine or platform.machine(), frozenset[str]())
    return sum(
        tensor.size
        for tensor in gguf.tensors
        if tensor.type_name in types
        and len(tensor.shape) > 1
        and tensor.shape[1] % 8 == 0
        and not tensor.name.startswith("token_embd")
    )


def at(values: Sequence[int], layer: int) -> int:
    """A layer's value out of one for each, or out of a single one for all."""
    if not values:
        return 0
    return values[layer] if layer < len(values) else values[-1]


def pad(count: int, multiple: int) -> int:
    """``count`` rounded up."""
    return -(-count // multiple) * multiple
