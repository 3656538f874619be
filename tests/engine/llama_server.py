"""Stands in for a native `llama-server`: the same flags, really parsed, over xllamacpp's own server."""

import argparse
import os
import signal
from pathlib import Path

import xllamacpp

FLAGS = argparse.ArgumentParser(allow_abbrev=False)
for name in ("--host", "--model", "--alias", "--mmproj", "--slot-save-path"):
    FLAGS.add_argument(name, default="")
FLAGS.add_argument("--pooling", choices=("none", "mean", "cls", "last", "rank"))
for name in ("--port", "--ctx-size", "--parallel", "--threads", "--cache-ram"):
    FLAGS.add_argument(name, type=int, required=True)
for name in ("--batch-size", "--ubatch-size", "--n-gpu-layers"):
    FLAGS.add_argument(name, type=int)
for name in (
    "--jinja",
    "--no-webui",
    "--no-warmup",
    "--metrics",
    "--slots",
    "--offline",
    "--embeddings",
    "--reranking",
):
    FLAGS.add_argument(name, action="store_true")
FLAGS.add_argument("--lora", action="append", default=[])

given = FLAGS.parse_args()
p = xllamacpp.CommonParams()
p.hostnames = [given.host]
p.port = given.port
p.model.path = given.model
p.model_alias = {given.alias}
p.n_ctx, p.n_parallel, p.cache_ram_mib = given.ctx_size, given.parallel, given.cache_ram
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = given.threads
p.n_batch, p.n_ubatch = given.batch_size or p.n_batch, given.ubatch_size or p.n_ubatch
p.use_jinja, p.endpoint_metrics, p.endpoint_slots = given.jinja, given.metrics, given.slots
p.ui, p.warmup = not given.no_webui, not given.no_warmup
p.embedding = given.embeddings
if given.slot_save_path:
    assert Path(given.slot_save_path).is_dir(), "llama-server refuses a folder that is not there"
    p.slot_save_path = given.slot_save_path + os.sep
if given.pooling:
    p.pooling_type = xllamacpp.llama_pooling_type[f"LLAMA_POOLING_TYPE_{given.pooling.upper()}"]
p.api_keys = [os.environ["LLAMA_API_KEY"]]
server = xllamacpp.Server(p)
signal.pause()
