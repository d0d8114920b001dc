# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""The end of the graph: logits of the wanted tokens, the decode operators on them, and the rows' next passes.

Shapes: B rows, S new tokens, W window tokens, V vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from nld_trt.graph.step import advance, candidates, operators
from nld_trt.graph.step import plugin_form as plugin_operators
from nld_trt.graph.tape import DOMAIN, Tape

# How ChooseTokens, BlockDenoise and SpecVerify are written: as functions of standard operators, or as the two operators
# of plugin_operators, which only a library that was given their kernels can read.
OperatorForm = Literal["functions", "plugins"]


class DecodeStep:
    """Records everything behind the final norm on a tape."""

    def __init__(self, tape: Tape, positions: str, *, quadratic: bool, mask_token_id: int, form: OperatorForm) -> None:
        """
        Args:
            positions: [B, S] int64 of the new tokens.
            quadratic: rows may make quadratic passes.
            form: of the operators that choose and verify tokens.
        """
        self.mask_token_id = mask_token_id
        self.form: OperatorForm = form
        self.tape = tape
        self.positions = positions
        self.quadratic = quadratic

    def record(self, hidden: str, head: Callable[[str], str]) -> None:
        """``hidden`` [B, S, H]; ``head`` records the logits of some of it."""
        tape = self.tape
        rows = tape.op("Max", "logit_rows", self._int32(0))
        index = tape.op("Cast", rows, to=TensorProto.INT64)
        window = tape.op("GatherND", hidden, tape.op("Unsqueeze", index, self._number([2])), batch_dims=1)
        wanted = tape.op("Cast", tape.op("GreaterOrEqual", "logit_rows", self._int32(0)), to=TensorProto.INT32)
        logits = head(window)
        tape.op("Cast", logits, to=TensorProto.FLOAT, name="logits")
        values = {
            "logits": logits,
            "block": tape.op("GatherElements", "tokens", index, axis=1),
            "valid": tape.op("ReduceSum", wanted, self._number([-1]), keepdims=0),
            "causal": "causal",
        }
        values |= self._rules(index)
        self._call("DraftCandidates", candidates.CANDIDATE_INPUTS, candidates.CANDIDATE_OUTPUTS, values)
        FORMS[self.form](self, values)
        self._call("Advance", advance.ADVANCE_INPUTS, advance.ADVANCE_OUTPUTS, values)

    def _functions(self, values: dict[str, str]) -> None:
        inputs = operators.CHOOSE_INPUTS + (operators.ENSEMBLE_INPUTS if self.quadratic else ())
        self._call("ChooseTokens", inputs, operators.CHOOSE_OUTPUTS, values)
        self._call("BlockDenoise", operators.DENOISE_INPUTS, operators.DENOISE_OUTPUTS, values)
        verified = values | {"valid": self._verified(values["valid"])}
        self._call("SpecVerify", operators.VERIFY_INPUTS, operators.VERIFY_OUTPUTS, verified)

    def _plugins(self, values: dict[str, str]) -> None:
        values = values | {"verify_valid": self._verified(values["valid"])}
        for operator in (plugin_operators.LOGIT_STATISTICS, plugin_operators.DECODE_STEP):
            attributes = operator.attributes(self.mask_token_id)
            self._call(operator.name, operator.inputs, operator.outputs, values, **attributes)

    def _verified(self, valid: str) -> str:
        """[B] int32: leading window tokens that are verified. Of a quadratic pass these are only the drafts."""
        if not self.quadratic:
            return valid
        drafts = self.tape.op("Greater", "segments", self._int32(0))
        return self.tape.op("Where", drafts, "segments", valid)

    def _rules(self, index: str) -> dict[str, str]:
        """Which random numbers and lists the rows' slots use, from the kind of their pass.

        Args:
            index: [B, W] int64, the new token of each window slot.
        """
        tape = self.tape
        own = tape.op("Cast", tape.op("GatherElements", self.positions, index, axis=1), to=TensorProto.INT32)
        # A bidirectional pass predicts the position of each token itself, a causal one the next.
        next_one = tape.op("Unsqueeze", "causal", self._number([1]))
        if self.quadratic:
            order = tape.op("Cast", index, to=TensorProto.INT32)
            count = tape.op("Unsqueeze", "segments", self._number([1]))
            is_mask = tape.op(
                "And", tape.op("Greater", count, self._int32(0)), tape.op("Not", tape.op("Less", order, count))
            )
            next_one = tape.op("And", next_one, tape.op("Not", is_mask))
        proposes = tape.op("And", "rejection", tape.op("Not", "causal"))
        lists = tape.op("Unsqueeze", tape.op("And", "rejection", "causal"), self._number([1, 2]))
        return {
            "position": tape.op("Add", own, tape.op("Cast", next_one, to=TensorProto.INT32)),
            "proposes": proposes,
            # A draft that is verified by rejection must not share its random numbers with the verification.
            "stream": tape.op("Cast", proposes, to=TensorProto.INT32),
            "drafted_ids": tape.op("Where", lists, "drafted_ids", self._int32(-1)),
        }

    def _call(
        self,
        name: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        values: dict[str, str],
        **attributes: Any,
    ) -> None:
        """An operator of the domain; inputs that ``values`` does not have are values of the same name.

        Args:
            attributes: of the node.
        """
        given = [values.get(value, value) for value in inputs]
        self.tape.ops(name, *given, outputs=len(outputs), names=outputs, domain=DOMAIN, **attributes)

    def _number(self, value: npt.ArrayLike) -> str:
        return self.tape.constant(value, np.int64)

    def _int32(self, value: int) -> str:
        return self.tape.constant(value, np.int32)


FORMS: Mapping[OperatorForm, Callable[[DecodeStep, dict[str, str]], None]] = {
    "functions": DecodeStep._functions,
    "plugins": DecodeStep._plugins,
}
