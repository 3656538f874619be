"""Our language to OpenAI's and llama.cpp's JSON, and their errors to ours.

    body = chat_body(request)                     # for POST /v1/chat/completions
    raise failure(answer.status, error_body)

Formats: OpenAI's chat completions and llama.cpp's server (tools/server/README.md of its repository), whose further
fields (chat_template_kwargs, min_p…) other servers share or leave out. The way back is in ``stream``. Nothing here
opens a connection.
"""

import base64
from typing import Any, cast

import msgspec
from msgspec import UNSET

from allod.chat import ChatRequest, CompletionRequest, ImagePart, Message, Options, Tool
from allod.errors import (
    AllodError,
    BadRequest,
    Busy,
    EngineFailed,
    ModelNotFound,
    NotFound,
    PromptTooLong,
    Refused,
    Unsupported,
)

KEEP = "allod_keep"  # ChatRequest.keep in a body for allod; no other server sees it, llama.cpp neither
LONGEST_TOKEN = 256  # characters; runs of 128 spaces are the longest in vocabularies of today


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def chat_body(request: ChatRequest) -> dict[str, Any]:
    """The body of ``/v1/chat/completions``, streamed."""
    body = options(request.options)
    tools = request.tools
    choice = request.tool_choice
    if isinstance(choice, dict):  # llama.cpp takes a choice by name for "auto", so only that tool is offered
        name = choice.get("function", {}).get("name")
        tools = [tool for tool in tools if tool.name == name]
        if not tools:
            raise BadRequest(f"tool_choice names the tool '{name}', which is not among the tools", "Name one that is.")
        choice = "required"
    body["messages"] = [message(m) for m in request.messages]
    if tools:
        body["tools"] = [tool_body(tool) for tool in tools]
        body["tool_choice"] = choice
        body["parallel_tool_calls"] = request.parallel_tools
    if request.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif request.format is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.format}}
    if request.top_logprobs is not None:
        body["logprobs"] = True
        body["top_logprobs"] = max(1, request.top_logprobs)  # llama.cpp gives none at all for 0
    if request.measured:
        body["timings_per_token"] = True
    if kwargs := template_kwargs(request):
        body["chat_template_kwargs"] = kwargs
    return body | {"stream": True, "stream_options": {"include_usage": True}}


def template_kwargs(request: ChatRequest) -> dict[str, Any]:
    """What the chat template is told about thinking."""
    if isinstance(request.think, str):
        return {"enable_thinking": True, "reasoning_effort": request.think}
    if request.think is not None:
        return {"enable_thinking": request.think}
    if request.messages and request.messages[-1].role == "assistant":
        return {"enable_thinking": False}  # llama.cpp refuses to continue an answer that is still to be thought about
    return {}


def options(o: Options) -> dict[str, Any]:
    """Sampling as llama.cpp and OpenAI name it; what is unset is left out."""
    named = {name: value for name in OPTION_NAMES if (value := getattr(o, name)) is not UNSET}
    return {**o.extra, **named}


OPTION_NAMES = tuple(name for name in Options.__struct_fields__ if name != "extra")


def message(m: Message) -> dict[str, Any]:
    """One message of ``/v1/chat/completions``."""
    body: dict[str, Any] = {"role": m.role, "content": m.content}
    if not isinstance(m.content, str):
        body["content"] = [
            {"type": "image_url", "image_url": {"url": data_url(part)}}
            if isinstance(part, ImagePart)
            else {"type": "text", "text": part.text}
            for part in m.content
        ]
    if m.thinking:
        body["reasoning_content"] = m.thinking
    if m.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in m.tool_calls
        ]
    if m.tool_call_id:
        body["tool_call_id"] = m.tool_call_id
    if m.tool_name:
        body["name"] = m.tool_name
    return body


def tool_body(tool: Tool) -> dict[str, Any]:
    """One tool of ``/v1/chat/completions``."""
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def data_url(image: ImagePart) -> str:
    """A picture as a ``data:`` URL."""
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def completion_body(request: CompletionRequest, marker: str) -> tuple[str, dict[str, Any]]:
    """Path and body for llama.cpp's own ``/completion``, or ``/infill`` where a suffix is given.

    ``marker`` is what stands for a picture within this server's prompts.
    """
    body = options(request.options)
    if "max_tokens" in body:
        body["n_predict"] = body.pop("max_tokens")
    if request.format is not None:
        body["json_schema"] = {"type": "object"} if request.format == "json" else request.format
    if request.top_logprobs is not None:
        body["n_probs"] = max(1, request.top_logprobs)
    body |= {"stream": True, "cache_prompt": True}
    if request.suffix:
        if not isinstance(request.prompt, str) or request.images:
            raise BadRequest("a suffix needs a prompt of text, without pictures", "Leave the suffix away.")
        return "/infill", body | {"input_prefix": request.prompt, "input_suffix": request.suffix}
    if request.images:
        if not isinstance(request.prompt, str):
            raise BadRequest("pictures need a prompt of text, not tokens", "Give the prompt as text.")
        prompt = request.prompt
        if (missing := len(request.images) - prompt.count(marker)) > 0:
            prompt = marker * missing + prompt
        pictures = [base64.b64encode(image.data).decode() for image in request.images]
        return "/completion", body | {"prompt": {"prompt_string": prompt, "multimodal_data": pictures}}
    return "/completion", body | {"prompt": request.prompt}


# ── lengths ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def check_length(prompt: str | list[int], context: int) -> None:
    """Returns unless a prompt is hopelessly long. Taking 50 MB apart would cost an engine half a minute and 2 GB.

    Args:
        context: tokens; 0 is unknown.

    Raises:
        PromptTooLong: it cannot fit, however its tokens turn out.
    """
    refuse(len(prompt) // LONGEST_TOKEN if isinstance(prompt, str) else len(prompt), context)


def refuse(least: int, context: int) -> None:
    """Raises PromptTooLong where ``least`` tokens are more than the context has."""
    if context and least > context:
        raise PromptTooLong(
            f"the prompt has at least {least} tokens, the context {context}",
            "Shorten the prompt, or ask for a larger context (num_ctx).",
        )


def check_raw_length(body: bytes, context: int) -> None:
    """The same for a body on the wire; pictures within it do not count. Raises PromptTooLong."""
    if len(body) <= context * LONGEST_TOKEN:
        return
    try:
        length = text_length(msgspec.json.decode(body))
    except (msgspec.DecodeError, RecursionError):
        return  # the engine says best what is wrong with it
    refuse(length // LONGEST_TOKEN, context)


def text_length(value: Any) -> int:
    """Characters of all texts within a JSON value, but for data in URLs."""
    if isinstance(value, str):
        return 0 if value.startswith("data:") else len(value)
    if isinstance(value, dict):
        return sum(text_length(entry) for entry in cast("dict[str, Any]", value).values())
    if isinstance(value, list):
        return sum(text_length(entry) for entry in cast("list[Any]", value))
    return 0


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def failure(status: int, body: bytes, model: str = "") -> AllodError:
    """The error that an engine's answer means."""
    message, kind, code = said(body)
    status = code if 400 <= code < 600 else status
    lower = message.lower()
    if kind == "exceed_context_size_error" or "context_length_exceeded" in lower or "maximum context length" in lower:
        return PromptTooLong(message, "Shorten the prompt, or ask for a larger context (num_ctx).")
    if status == 501 or "is not supported" in lower or "does not support" in lower:
        return Unsupported(message, "Use a model that can.")
    if status in (401, 403):
        return Refused(f"the server refused the request: {message}", "Check the API key.")
    if status in (404, 405):
        if "model" in lower and status == 404:
            return ModelNotFound(f"the server has no model '{model}'", "Ask it for one of its own.")
        return NotFound(message, "The server lacks this.")
    if status in (429, 503):
        return Busy(f"the server is busy: {message}", "Try again in a moment.")
    if status < 500:
        return BadRequest(message, "Mend the request.")
    return EngineFailed(f"the engine failed: {message}", "Ask again; `allod doctor` checks the engine.")


def said(body: bytes) -> tuple[str, str, int]:
    """Message, type and code of an error body, whichever server wrote it."""
    try:
        error: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:200].decode(errors="replace").strip() or "no reason given", "", 0
    if isinstance(error, dict):
        error = cast("dict[str, Any]", error).get("error", error)
    if not isinstance(error, dict):
        return str(error)[:500], "", 0
    fields = cast("dict[str, Any]", error)
    code = fields.get("code")
    message = fields.get("message") or fields.get("detail") or "no reason given"
    return " ".join(str(message).split())[:500], str(fields.get("type", "")), code if isinstance(code, int) else 0
