# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""``nld-trt check-server``: whether another server gives the answers of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nld_trt import names
from nld_trt.cli._options import backend_option
from nld_trt.cli._output import json_option, output
from nld_trt.cli._report import origin, writing
from nld_trt.cli._spelling import output_file_option
from nld_trt.errors import OperationError

if TYPE_CHECKING:
    from nld_trt.measure.agreement.agreement import Agreement, Difference
    from nld_trt.model.checkpoint import Checkpoint


@click.command("check-server")
@click.argument("url")
@click.option(
    "--engine", "engine_dir", type=click.Path(path_type=Path), required=True,
    help="Engine folder of the same model, whose answers are the right ones.",
)  # fmt: skip
@click.option(
    "--checkpoint", "checkpoint_dir", type=click.Path(path_type=Path), default=None,
    help="Converted checkpoint of the engine, to look for the fault with. A network is built for each that is known.",
)  # fmt: skip
@click.option("--model", default=None, help="Name of the model on the server. Default: the first that it lists.")
@click.option(
    "--api-key", default=None, show_default=False,
    help="Key that the server wants. Others can read it here; the variable NLD_TRT_CHECK_SERVER_API_KEY is safer.",
)  # fmt: skip
@click.option("--samples", type=int, default=names.DEFAULT_CHECK_SAMPLES, help="Prompts in each range of positions.")
@click.option("--max-new-tokens", "max_tokens", type=int, default=names.DEFAULT_CHECK_TOKENS, help="Of each answer.")
@click.option(
    "--tie", type=float, default=names.DEFAULT_TIE,
    help="Nats by which another token may be less likely and still be no difference: rounding decides there.",
)  # fmt: skip
@click.option("--timeout", type=float, default=names.DEFAULT_CLIENT_TIMEOUT, help="Longest wait for an answer.")
@backend_option
@output_file_option("Write what was found as JSON.")
@json_option
def command(
    url: str, *, engine_dir: Path, checkpoint_dir: Path | None, model: str | None, api_key: str | None, timeout: float,
    backend: str | None, output_file: Path | None, **settings: Any,
) -> None:  # fmt: skip
    """Compare the greedy answers of an OpenAI-compatible server with those of an engine. URL is its address.

    The server is asked for short answers and for answers around the positions where the query scale changes, as far as
    the engine's length goes: by completions, with token ids and log-probabilities if it takes them, and by chat. The
    engine reads its answers, and says of each token how far it is below the most likely one. What the server misses
    of the model is named: BOS, chat template, EOS tokens, positions. With --checkpoint, networks with the faults that
    other programs are known to have read the answers too, which shows the fault that explains them best.

    Exit status: 0 it agrees, 1 it differs or does not answer, 2 something given cannot be used.

    \b
    Examples:
      nld-trt check-server http://localhost:8000 --engine engine
      nld-trt check-server http://localhost:8000 --engine engine --checkpoint checkpoint --samples 16
    """
    from nld_trt.engine.folder import EngineFolder
    from nld_trt.measure.agreement.agreement import Examination, Settings
    from nld_trt.measure.agreement.server import OpenAIServer

    asked = Settings(**settings)
    asked.check()
    with writing(output_file) as write:
        engine = EngineFolder.open(engine_dir)
        checkpoint = _checkpoint(checkpoint_dir, engine)
        server = OpenAIServer(url, model=model, api_key=api_key, timeout=timeout)
        with output.stage("opening engine"):
            examination = Examination(server, engine, asked, backend=backend)
        found = examination.run(checkpoint=checkpoint, progress=output)
        report = {**found.to_dict(), **origin(), "url": server.url, "model": server.model}
        write(report, lambda: _show(found, report))
    if not found.agrees:
        raise OperationError(f"{server.url} does not answer as the engine in {engine_dir} does", details=found.facts)


def _checkpoint(folder: Path | None, engine: Any) -> Checkpoint | None:
    from nld_trt.measure.agreement.hypotheses import check_same_model
    from nld_trt.model.checkpoint import Checkpoint

    if folder is None:
        return None
    checkpoint = Checkpoint.open_converted(folder)
    check_same_model(checkpoint, engine)
    return checkpoint


def _show(found: Agreement, report: dict[str, Any]) -> None:
    if output.json:
        output.result(report)
        return
    columns = ["range", "positions", "tokens", "same", "ties", "different", "log-prob. error", "first difference"]
    rows = [
        [
            row.name, f"{row.first_position:,}-{row.last_position:,}", row.tokens, row.agreed, row.ties, row.differing,
            _nats(row.logprob_error), _difference(row.difference),
        ]
        for row in found.rows
    ]  # fmt: skip
    output.table(columns, rows, title=found.form)
    if found.explanations:
        lines = [
            [each.name, f"{each.agreement:.1%}", f"{each.mean_margin:.3f}", _nats(each.logprob_error)]
            for each in found.explanations
        ]
        titles = ["network", "explains", "mean margin (nats)", "log-prob. error"]
        output.table(titles, lines, title="what explains the server's tokens")
    for line in found.notes:
        output.note(line)
    if found.agrees:
        output.note("the server agrees with the engine")


def _difference(found: Difference | None) -> str:
    if found is None:
        return "-"
    return f"position {found.position:,}: {found.server!r} for {found.engine!r}, {found.margin:.2f} nats below"


def _nats(found: float | None) -> str:
    return "-" if found is None else f"{found:.3f}"
