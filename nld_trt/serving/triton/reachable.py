# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a Triton server answers at an address, and which models it has ready."""

from __future__ import annotations

from nld_trt.errors import InputError
from nld_trt.optional import require
from nld_trt.serving.triton.client import channel_options, grpc_address

# Seconds that a question may take.
_QUESTION_SECONDS = 5.0


def ready_models(address: str) -> list[str]:
    """Return the names of the models of a server that are ready.

    Args:
        address: its gRPC address.

    Raises:
        InputError: the address is not one of gRPC, or nothing answers there.
    """
    grpc = require("tritonclient.grpc", wanted_by="sweep URL")
    from tritonclient.utils import InferenceServerException

    address = grpc_address(address)
    client = grpc.InferenceServerClient(address, channel_args=channel_options(address))
    try:
        index = client.get_model_repository_index(client_timeout=_QUESTION_SECONDS, as_json=True)
    except InferenceServerException as error:
        raise InputError(
            f"no Triton server answers at {address}: {error.message()}",
            fix="Start one with nld-trt serve REPO_DIR, and give its gRPC address.",
        ) from error
    finally:
        client.close()
    return sorted(each["name"] for each in index.get("models", []) if each.get("state") == "READY")
