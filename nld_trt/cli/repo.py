# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt repo``: write a Triton model repository around an engine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._llm_api import refuse_others_options, write_llm_api
from nld_trt.cli._options import engine_argument, generation_config_option
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import command_line
from nld_trt.cli._spelling import Option, output_folder_option

if TYPE_CHECKING:
    from nld_trt.serving.settings import ServingSettings


@click.command("repo")
@engine_argument
@output_folder_option("Repository folder to write.")
@click.option(
    "--also", type=click.Path(path_type=Path), multiple=True, metavar="ENGINE_DIR",
    help="Engine of the same checkpoint for other GPUs. Repeatable. A server takes the one for its GPU.",
)  # fmt: skip
@click.option("--name", default=names.DEFAULT_MODEL_NAME, help="Name of the model, as in its URL.")
@click.option(
    "--backend", type=click.Choice(names.BACKENDS), default=None, show_default=False,
    help="Backend to serve with. Default: the first that the server's machine can run.",
)  # fmt: skip
@click.option(
    "--mode",
    type=click.Choice(names.SERVED_MODES),
    default=names.DEFAULT_SERVED_MODE,
    help="Mode of requests that name none; auto follows the load.",
)
@click.option("--block-length", type=int, default=None, help="For requests that give none. Default: the checkpoint's.")
@click.option(
    "--max-new-tokens",
    cls=Option,
    aliases=["--max-tokens"],
    type=int,
    default=None,
    help="Limit of requests that give none. Default: the checkpoint's, or as many as fit.",
)
@click.option(
    "--max-waiting",
    type=int,
    default=names.DEFAULT_MAX_WAITING,
    help="Requests that may wait for a free row; more are refused.",
)
@click.option(
    "--max-num-batched-tokens", type=int, default=None, show_default=False,
    help="Tokens of one round of forwards while prompts are read. Default: a chunk of a prompt takes no longer than a "
    "forward of the requests that wait for it.",
)  # fmt: skip
@click.option(
    "--enable-prefix-caching/--no-enable-prefix-caching", "prefix_caching", default=True,
    help="Keep keys and values of ended requests for prompts that begin alike.",
)  # fmt: skip
@click.option("--raw", is_flag=True, help="Do not put texts into the chat template, unless a request says raw=false.")
@click.option(
    "--chat-template", metavar="NAME|FILE", default=None, show_default=False,
    help="Chat template to serve with: one of the engine's by name, or a Jinja file. Default: the engine's own.",
)  # fmt: skip
@click.option("--ignore-penalties", is_flag=True, help="Ignore frequency and presence penalties, not refuse them.")
@generation_config_option
@click.option(
    "--serve-with", type=click.Choice(names.SERVERS), default=names.TRITON,
    help="What will serve it: Triton with the engine, or TensorRT-LLM's container with a checkpoint, in AR alone.",
)  # fmt: skip
@click.option(
    "--max-seq-len", type=int, default=None, show_default=f"{names.DEFAULT_MAX_SEQ_LEN}, or what is right",
    help="Longest context of TensorRT-LLM, prompt and answer.",
)  # fmt: skip
@click.option(
    "--rotary-layout", type=click.Choice(names.ROTARY_LAYOUTS), default=names.PAIRS,
    help="Elements of a head that TensorRT-LLM rotates together, by its sources; check-server says if that is wrong.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a repository that exists.")
@json_option
def command(
    engine_dir: Path, output_dir: Path, *, also: tuple[Path, ...], name: str, chat_template: str | None, force: bool,
    serve_with: str, max_seq_len: int | None, rotary_layout: str, **options: Any,
) -> None:  # fmt: skip
    """Write a Triton Inference Server model repository around an engine.

    The repository is self-contained: the engine's files are in it, hard-linked where that is possible. For
    Triton's OpenAI front end, which renders the chat template itself, add --raw. --chat-template changes the
    repository's copy of the engine, and not the engine.

    With --serve-with tensorrt-llm, the repository is for TensorRT-LLM's own Triton model, for AR decoding with hundreds
    of users, and ENGINE_DIR is a checkpoint that convert --to ministral3 wrote. Contexts that it would get wrong are
    refused. It has not been verified: compare it with check-server.

    \b
    Examples:
      nld-trt repo engine -o repository
      nld-trt repo engine -o repository --name nld-8b --raw
      nld-trt repo engine-h100 --also engine-gb200 -o repository
      nld-trt repo ministral -o repository --serve-with tensorrt-llm
    """
    refuse_others_options(serve_with)
    if serve_with == names.TENSORRT_LLM:
        write_llm_api(
            engine_dir, output_dir, name=name, max_seq_len=max_seq_len, rotary_layout=rotary_layout, force=force
        )
        return
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.files import human_bytes
    from nld_trt.serving.triton.repository import write_repository

    with output.stage("opening engine"):
        engine, *others = [EngineFolder.open(path) for path in (engine_dir, *also)]
    serving = _settings(**options)
    repository = write_repository(
        engine, output_dir, also=others, name=name, serving=serving, chat_template=chat_template,
        command=command_line(), force=force,
    )  # fmt: skip
    files, linked = repository.manifest["files"], repository.linked
    size = sum(record["size"] for record in files.values())
    facts = {"repository": str(output_dir), "model": name, "files": len(files), "bytes": size, "linked": linked}
    output.result(
        {**facts, "settings": serving.to_dict()},
        f"model {name} in {output_dir}: {len(files)} files, {linked} hard-linked, {human_bytes(size)}",
    )
    for line in engine.with_defaults(serving.generation_config).manifest.generation.notes:
        output.note(line)
    output.note(f"next: nld-trt serve {shlex.quote(str(output_dir))}")


def _settings(
    *, mode: names.ModeName, block_length: int | None, max_new_tokens: int | None, raw: bool, **others: Any
) -> ServingSettings:
    from nld_trt.serving.settings import Defaults, ServingSettings

    defaults = Defaults(mode=mode, block_length=block_length, max_tokens=max_new_tokens, raw=raw)
    return ServingSettings(defaults=defaults, **others)
