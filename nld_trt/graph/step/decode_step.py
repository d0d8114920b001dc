# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The end of the graph: logits of the wanted tokens, the decode operators on them, and the rows' next passes.

Shapes: B rows, S new tokens, W window tokens, V vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from onnx import FunctionProto

from nld_trt.graph.step.advance import ADVANCE, advance
from nld_trt.graph.step.candidates import DRAFT_CANDIDATES, draft_candidates
from nld_trt.graph.step.choose import CHOOSE_TOKENS, CHOOSE_TOKENS_BY_ENSEMBLE, choose_tokens
from nld_trt.graph.step.denoise import BLOCK_DENOISE, block_denoise
from nld_trt.graph.step.greedy_token import RESULTS, are_greedy_tokens, choose_greedily, greedy_results
from nld_trt.graph.step.plugin_form import PLUGIN_OPERATORS
from nld_trt.graph.step.tensors import TENSORS, Operator
from nld_trt.graph.step.verify import SPEC_VERIFY, spec_verify
from nld_trt.graph.tape import DOMAIN, Dialect, Tape, Value, maximum, where

# How ChooseTokens, BlockDenoise, SpecVerify and Advance are written: as functions of standard operators, or as the
# operators of plugin_form, which only a library that was given their kernels can read.
OperatorForm = Literal["functions", "plugins"]

# Tensors of the decode operators, by name.
Tensors = dict[str, Value]


def decode_functions(
    mask_token_id: int,
    vocab_size: int,
    dialect: Dialect,
    *,
    quadratic: bool = False,
    blocks: bool = False,
    form: OperatorForm = "functions",
) -> list[FunctionProto]:
    """Every decode operator as a function, without those that have no body in ``form``.

    Their bodies, in standard operators, are their meaning: what ONNX Runtime and TensorRT for RTX run, and what any
    other implementation is compared with.

    Args:
        blocks: rows may have the program "blocks".
    """
    functions = [
        draft_candidates(mask_token_id, vocab_size, dialect),
        choose_tokens(mask_token_id, vocab_size, dialect, quadratic=quadratic),
        block_denoise(mask_token_id),
        spec_verify(),
        advance(mask_token_id, blocks=blocks),
    ]
    bodiless = PLUGIN_OPERATORS if form == "plugins" else ()
    return [function for function in functions if function.name not in bodiless]


class DecodeStep:
    """Records everything after the final norm on a tape."""

    def __init__(
        self,
        tape: Tape,
        inputs: Mapping[str, Value],
        positions: Value,
        *,
        quadratic: bool,
        mask_token_id: int,
        vocab_size: int,
        form: OperatorForm,
        dialect: Dialect,
        renamed: Mapping[str, str] | None = None,
        shifted: bool = False,
    ) -> None:
        """
        Args:
            inputs: those of the step contract.
            positions: [B, S] int64 of the new tokens.
            quadratic: rows may make quadratic passes.
            shifted: the logits of a wanted token are those of the token before it (``model.family``).
            form: of the operators that choose and verify tokens and prepare the next pass.
            renamed: other names for some of the results.
        """
        self.tape = tape
        self.inputs = inputs
        self.positions = positions
        self.quadratic = quadratic
        self.mask_token_id = mask_token_id
        self.vocab_size = vocab_size
        self.form: OperatorForm = form
        self.dialect: Dialect = dialect
        self.renamed = renamed or {}
        self.shifted = shifted

    def record(self, hidden: Value, head: Callable[[Value], Value]) -> Tensors:
        """Records the tail and returns its results. ``hidden`` is [B, S, H]; ``head`` records the logits of some."""
        logit_rows = self.inputs["logit_rows"]
        index = maximum(logit_rows, 0).cast(np.int64)
        predicting = maximum(index - 1, 0) if self.shifted else index
        window = self.tape.op("GatherND", hidden, predicting.unsqueeze(2), batch_dims=1)
        logits = head(window)
        logits.cast(np.float32, name="logits")
        if self.dialect == "tensorrt":
            return self._decode(logits, index)
        best, is_greedy = self.tape.when(
            are_greedy_tokens(self.inputs, self.mask_token_id),
            lambda: choose_greedily(logits, self.mask_token_id, self.vocab_size),
            lambda: [self.tape.constant([[0]], np.int64), self.tape.constant(False, np.bool_)],
        )
        results = self.tape.when(
            is_greedy,
            lambda: greedy_results(self.inputs, best),
            lambda: [*self._decode(logits, index, prefix="decoded/").values()],
            names=[self._renamed(name) for name in RESULTS],
        )
        return dict(zip(RESULTS, results, strict=True))

    def _renamed(self, name: str) -> str:
        return self.renamed.get(name, name)

    def _decode(self, logits: Value, index: Value, prefix: str = "") -> Tensors:
        """Records the decode operators and returns the values of RESULTS, whose names start with ``prefix``.

        Args:
            index: [B, W] int64, the new token of each window slot.
        """
        wanted = (self.inputs["logit_rows"] >= 0).cast(np.int32)
        tensors: Tensors = {
            **self.inputs,
            "logits": logits,
            "block": self.inputs["tokens"].take_along(index, axis=1),
            "valid": wanted.sum(-1),
        }
        tensors["verify_valid"] = self._verified(tensors["valid"])
        tensors |= self._sampling_inputs(index)
        for operator in self._operators():
            self._call(operator, tensors, prefix)
        return {name: tensors[name] for name in RESULTS if name in tensors}

    def _operators(self) -> tuple[Operator, ...]:
        choose = CHOOSE_TOKENS_BY_ENSEMBLE if self.quadratic else CHOOSE_TOKENS
        forms: Mapping[OperatorForm, tuple[Operator, ...]] = {
            "functions": (choose, BLOCK_DENOISE, SPEC_VERIFY, ADVANCE),
            "plugins": tuple(PLUGIN_OPERATORS.values()),
        }
        return (DRAFT_CANDIDATES, *forms[self.form])

    def _verified(self, valid: Value) -> Value:
        """[B] int32: leading window tokens that are verified. In a quadratic pass these are only the drafts."""
        segments = self.inputs["segments"]
        return where(segments > 0, segments, valid) if self.quadratic else valid

    def _sampling_inputs(self, index: Value) -> Tensors:
        """Which random numbers and lists the rows' slots use, from the kind of their pass.

        Args:
            index: [B, W] int64, the new token of each window slot.
        """
        causal, rejection = self.inputs["causal"], self.inputs["rejection"]
        own = self.positions.take_along(index, axis=1).cast(np.int32)
        # A bidirectional pass predicts the position of each token itself, a causal one the next.
        predicts_next = causal.column()
        if self.quadratic:
            count = self.inputs["segments"].column()
            is_mask = (count > 0) & ~(index.cast(np.int32) < count)
            predicts_next = predicts_next & ~is_mask
        proposes = rejection & ~causal
        verifies = (rejection & causal).unsqueeze(1, 2)
        return {
            "position": own + predicts_next.cast(np.int32),
            "proposes": proposes,
            # A draft that is verified by rejection must not share its random numbers with the verification.
            "stream": proposes.cast(np.int32),
            "drafted_ids": where(verifies, self.inputs["drafted_ids"], -1),
        }

    def _call(self, operator: Operator, tensors: Tensors, prefix: str) -> None:
        """A node of the operator, whose outputs join ``tensors``."""
        outputs = self.tape.ops(
            operator.name,
            *(tensors[name] for name in operator.inputs),
            dtypes=[TENSORS[name].dtype for name in operator.outputs],
            names=[f"{prefix}{self._renamed(name)}" for name in operator.outputs],
            domain=DOMAIN,
            **operator.attributes(self.mask_token_id),
        )
        tensors |= dict(zip(operator.outputs, outputs, strict=True))
