"""The engine's chunks turned into a response of OpenAI's: its events as they come, and the object they add up to.

One `Answering` makes one response, streamed or not: whoever wants it whole runs the events to their end and takes
``response``. The order is the one that OpenAI's SDK builds on: created, in_progress, then for every item added, its
content, done, and at last completed, incomplete or failed. Tool calls come whole from the engine, so their arguments
are one delta each.
"""

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

import msgspec

from allod.chat import ChatChunk, ToolCall, Usage
from allod.errors import AllodError, Busy
from allod.server.door import encode
from allod.server.responses_wire import (
    Cached,
    Failure,
    Incomplete,
    OutputCall,
    OutputMessage,
    OutputReasoning,
    OutputText,
    Reasoning,
    ReasoningText,
    Response,
    ResponseRequest,
    Status,
    Thought,
    Used,
)

Event = dict[str, Any]


def begun(body: ResponseRequest, model: str) -> Response:
    """A response without output yet."""
    form = body.text.format if body.text else None
    return Response(
        id=new_id("resp"),
        created_at=int(time.time()),
        model=model,
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        metadata=body.metadata or {},
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        reasoning=body.reasoning or Reasoning(),
        store=body.store is not False,
        temperature=body.temperature,
        text={"format": msgspec.to_builtins(form) if form else {"type": "text"}},
        tool_choice=body.tool_choice or "auto",
        tools=body.tools or [],
        top_p=body.top_p,
        user=body.user,
    )


def new_id(prefix: str) -> str:
    """An id that nobody can guess."""
    return f"{prefix}_{secrets.token_hex(24)}"


class Answering:
    """One response in the making."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.started = False
        self._number = 0
        self._open: OutputMessage | OutputReasoning | None = None
        self._used = Usage()
        self._thought = 0  # tokens up to the last of the thoughts

    async def of(self, chunks: AsyncIterator[ChatChunk]) -> AsyncGenerator[Event]:
        """Every event but the last one, which is `last` or `failed`."""
        async with aclosing(cast("AsyncGenerator[ChatChunk]", chunks)):
            async for chunk in chunks:
                if not self.started:
                    self.started = True
                    yield self._event("response.created", response=self._snapshot())
                    yield self._event("response.in_progress", response=self._snapshot())
                self._used = chunk.usage or self._used
                if chunk.thinking:
                    self._thought = self._used.output_tokens
                    for event in self._think(chunk.thinking):
                        yield event
                if chunk.text:
                    for event in self._say(chunk.text):
                        yield event
                if chunk.tool_calls or chunk.finish:
                    for event in self._close("incomplete" if chunk.finish == "length" else "completed"):
                        yield event
                for number, call in enumerate(chunk.tool_calls, 1):
                    cut = chunk.finish == "length" and number == len(chunk.tool_calls)
                    for event in self._call(call, "incomplete" if cut else "completed"):
                        yield event
                if chunk.finish:
                    self._end(chunk.finish)
                    break

    def last(self) -> Event:
        """The event that ends a stream: the whole response."""
        return self._event(f"response.{self.response.status}", response=self.response)

    def failed(self, error: AllodError) -> Iterator[Event]:
        """What ends a stream in which an error came up."""
        message = f"{error.message.rstrip('.')}. {error.remedy}" if error.remedy else error.message
        code = "rate_limit_exceeded" if isinstance(error, Busy) else "server_error"
        code = "invalid_prompt" if error.status < 500 else code
        yield self._event("error", code=code, message=message, param=None)
        self.response.status = "failed"
        self.response.error = Failure(code, message)
        yield self._event("response.failed", response=self.response)

    # ── items ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, text: str) -> Iterator[Event]:
        if not isinstance(self._open, OutputMessage):
            yield from self._close("completed")
            self._open = OutputMessage(new_id("msg"))
            yield from self._begin(self._open, OutputText())
        part = self._open.content[0]
        part.text += text
        yield self._event("response.output_text.delta", **self._where(self._open), delta=text, logprobs=[])

    def _think(self, text: str) -> Iterator[Event]:
        if not isinstance(self._open, OutputReasoning):
            yield from self._close("completed")
            self._open = OutputReasoning(new_id("rs"))
            yield from self._begin(self._open, ReasoningText())
        part = self._open.content[0]
        part.text += text
        yield self._event("response.reasoning_text.delta", **self._where(self._open), delta=text)

    def _begin(self, item: OutputMessage | OutputReasoning, part: OutputText | ReasoningText) -> Iterator[Event]:
        """An item and its one part, both empty."""
        yield self._event("response.output_item.added", output_index=len(self.response.output), item=item)
        self.response.output.append(item)
        cast("list[OutputText | ReasoningText]", item.content).append(part)
        yield self._event("response.content_part.added", **self._where(item), part=part)

    def _close(self, status: Status) -> Iterator[Event]:
        """The open item is done."""
        item, self._open = self._open, None
        if item is None:
            return
        item.status = status
        part = item.content[0]
        where = self._where(item)
        if isinstance(part, OutputText):
            yield self._event("response.output_text.done", **where, text=part.text, logprobs=[])
        else:
            yield self._event("response.reasoning_text.done", **where, text=part.text)
        yield self._event("response.content_part.done", **where, part=part)
        yield self._event("response.output_item.done", output_index=where["output_index"], item=item)

    def _call(self, call: ToolCall, status: Status) -> Iterator[Event]:
        item = OutputCall(new_id("fc"), new_id("call"), call.name)
        index = len(self.response.output)
        where = {"item_id": item.id, "output_index": index}
        yield self._event("response.output_item.added", output_index=index, item=item)
        self.response.output.append(item)
        item.arguments, item.status = call.arguments or "{}", status
        yield self._event("response.function_call_arguments.delta", **where, delta=item.arguments)
        yield self._event("response.function_call_arguments.done", **where, name=item.name, arguments=item.arguments)
        yield self._event("response.output_item.done", output_index=index, item=item)

    # ── the whole ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, finish: str) -> None:
        used = self._used
        self.response.usage = Used(
            used.prompt_tokens,
            used.output_tokens,
            used.prompt_tokens + used.output_tokens,
            Cached(used.cached_tokens),
            Thought(min(self._thought, used.output_tokens)),
        )
        if finish == "length":
            self.response.status = "incomplete"
            self.response.incomplete_details = Incomplete()
        else:
            self.response.status = "completed"
            self.response.completed_at = int(time.time())

    def _where(self, item: OutputMessage | OutputReasoning) -> dict[str, Any]:
        """Which content of which item. The open one is always the last."""
        return {"item_id": item.id, "output_index": len(self.response.output) - 1, "content_index": 0}

    def _snapshot(self) -> msgspec.Raw:
        """The response as it is now."""
        return msgspec.Raw(encode(self.response))

    def _event(self, kind: str, **fields: Any) -> Event:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}


def on_the_wire(event: Event) -> bytes:
    """An event as a server-sent one."""
    return f"event: {event['type']}\ndata: ".encode() + encode(event) + b"\n\n"
