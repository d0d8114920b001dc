# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a model of a repository can be served as it is configured, which is checked before a server starts.

``config.pbtxt`` and ``model.json`` may be edited. What does not fit would fail with the first request, or hang it.
"""

from __future__ import annotations

from pathlib import Path

from nld_trt import names
from nld_trt.engine import manifest as engine_manifests
from nld_trt.engine.manifest import Manifest
from nld_trt.errors import InputError
from nld_trt.files import inside, read_json
from nld_trt.serving import settings
from nld_trt.serving.settings import ServingSettings
from nld_trt.serving.triton import model_config

VERSION = "1"


def check_model(folder: Path) -> None:
    """Check one model of a repository. A folder that is none of ours, without ``model.json``, is left alone.

    Raises:
        InputError: it cannot be served. The message names the file and the setting.
    """
    file = folder / VERSION / settings.FILE_NAME
    if not file.is_file():
        return
    check_decoupled(model_config.read_config(folder).model_transaction_policy.decoupled, folder)
    serving = ServingSettings.from_dict(read_json(file))
    engine = inside(file.parent, serving.engine) / engine_manifests.FILE_NAME
    if not engine.is_file():
        return  # the engine is damaged, which its own check says better
    try:
        check_settings(serving, Manifest.from_dict(read_json(engine)))
    except InputError as error:
        raise InputError(f"{file}: {error.what}", details=error.details, fix=error.fix) from error


def check_decoupled(decoupled: bool, folder: Path) -> None:
    """Raises InputError for a model that Triton would expect to answer within its call, so that no request ends."""
    if not decoupled:
        raise InputError(
            f"{folder / model_config.FILE_NAME} has no model_transaction_policy with decoupled: true, which the model "
            "needs: it answers later than Triton asks, and with several responses",
            fix="Put it back: model_transaction_policy { decoupled: true }",
        )


def check_settings(serving: ServingSettings, manifest: Manifest) -> None:
    """Check that an engine can serve requests that leave everything to the settings.

    Raises:
        InputError: it cannot. The message names the setting.
    """
    serving.check()
    if serving.backend is not None and serving.backend not in manifest.backends:
        raise InputError(f"the engine has no {serving.backend} backend; it has {', '.join(manifest.backends)}")
    limits, defaults = manifest.limits, serving.defaults
    manifest.config.family.offered(defaults.mode)
    if defaults.block_length is not None and defaults.block_length > limits.max_block_length:
        raise InputError(
            f"the default block_length is {defaults.block_length}; the engine was built for {limits.max_block_length}",
        )
    if manifest.config.family.aligns_blocks and defaults.block_length not in (None, limits.max_block_length):
        raise InputError(
            f"the default block_length is {defaults.block_length}; {manifest.config.family.title} sees its prompt in "
            f"blocks as well, and the engine was built for blocks of {limits.max_block_length}",
            fix="Leave --block-length out.",
        )
    drafts = limits.max_quadratic_length
    if defaults.mode == names.QUADRATIC and not drafts:
        raise InputError(
            "the default mode is quadratic, and the engine was built without quadratic passes",
            fix="Use another --mode, or rebuild with nld-trt build --quadratic-length 8.",
        )
    if defaults.mode == names.QUADRATIC and (defaults.block_length or 0) > drafts:
        raise InputError(
            f"the default mode is quadratic and the default block_length {defaults.block_length}; the engine was built "
            f"for quadratic passes of up to {drafts} drafts",
            fix="Use a smaller --block-length, or leave it out.",
        )
    if defaults.max_tokens is not None and defaults.max_tokens >= limits.max_seq_len:
        raise InputError(
            f"the default max_tokens is {defaults.max_tokens}; the engine has {limits.max_seq_len}, prompt included"
        )
    if defaults.lora and not manifest.has_adapter:
        raise InputError("--lora was asked for and the engine has no draft adapter", fix="Leave it out.")
