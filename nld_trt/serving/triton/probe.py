# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The probe: a request that asks the model whether it is well, and gets the answer without waiting in the queue.

Triton's own ``ready`` says that a model was loaded, also when the model's process is dead or its decode loop has ended.
"""

from __future__ import annotations

import http.client
import json
from typing import Final, Literal

from nld_trt.errors import OperationError
from nld_trt.serving.scheduler import Scheduler
from nld_trt.serving.triton.replies import Outputs

# The request parameter, which over HTTP is a field of the body.
PARAMETER: Final = "probe"
# The outputs of a model that is well.
WELL: Final[Outputs] = {"text_output": "", "finish_reason": "stop", "mode": ""}
# In every message of a model that is not well.
ILL: Final = "the model cannot decode"
# Triton's words for a model whose process has died or hangs, which it says only sometimes.
_DEAD: Final = "Stub process"
# Longer than any forward: the slowest are chunks of a prompt that a large network computes on a CPU.
_STALL_SECONDS: Final = 300.0

# ``absent``: the server answers that it does not have the model now. ``silent``: there was no answer in time.
State = Literal["well", "ill", "absent", "silent", "unreachable"]


def check_health(scheduler: Scheduler) -> None:
    """Raises OperationError if the decode loop has ended or stands still."""
    if scheduler.failure is not None:
        raise OperationError(f"{ILL}: {scheduler.failure.what}")
    silence = scheduler.pulse.silence
    if silence > _STALL_SECONDS:
        raise OperationError(f"{ILL}: its forward has not ended for {silence:.0f} s")


def ask_state(host: str, port: int, model: str, timeout: float) -> tuple[State, str]:
    """Ask a server on this machine for the state of a model, over HTTP.

    Args:
        timeout: seconds to wait for the answer.

    Returns:
        The state, and the server's words where the model is ill.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("POST", f"/v2/models/{model}/generate", json.dumps({PARAMETER: True}))
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    except TimeoutError:
        return "silent", ""
    except (OSError, http.client.HTTPException):
        return "unreachable", ""
    finally:
        connection.close()
    if response.status == http.client.OK:
        return "well", ""
    return ("ill" if ILL in text or _DEAD in text else "absent"), text
