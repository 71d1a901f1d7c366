"""What goes through the socket between this process and one that decodes: a number and any object, views as bytes."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timesformer.data.dataset import Batch


def send(target: socket.socket, number: int, content: Any) -> None:
    """Send an object that can be pickled; the tensors of a batch go as they lie in memory."""
    shape = views = None
    if isinstance(content, Batch):
        shape, views = content.views_VCTSS.shape, content.views_VCTSS.contiguous().view(-1).numpy().data
        content = tuple(value.numpy() if isinstance(value, Tensor) else value for value in content[1:])
    head = pickle.dumps((number, content, shape))
    target.sendall(struct.pack("!Q", len(head)) + head)
    if views is not None:
        target.sendall(views)


def receive(source: socket.socket) -> tuple[int, Any]:
    """What was sent; the views of a batch in pinned memory where there is a GPU. Raises EOFError at the end."""
    (size,) = struct.unpack("!Q", _fill(source, memoryview(bytearray(8))))
    number, content, shape = pickle.loads(_fill(source, memoryview(bytearray(size))))
    if shape is None:
        return number, content
    views_VCTSS = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    _fill(source, views_VCTSS.view(-1).numpy().data)
    fields: list[Any] = [torch.from_numpy(value) if isinstance(value, np.ndarray) else value for value in content]
    return number, Batch(views_VCTSS, *fields)


def _fill(source: socket.socket, memory: memoryview) -> memoryview:
    done = 0
    while done < len(memory):
        count = source.recv_into(memory[done:], flags=socket.MSG_WAITALL)
        if not count:
            raise EOFError
        done += count
    return memory
