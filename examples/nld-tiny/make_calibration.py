# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Write the calibration set of nld-tiny: questions of the trained task families, without held-out ones.

python examples/nld-tiny/make_calibration.py > quantize/calibration/nld-tiny.jsonl
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import tasks

COUNT = 256
SEED = 7


def lines() -> Iterator[str]:
    """Yield lines of JSON without repeated prompts, taking the task families in turn."""
    seen: set[str] = set()
    for family, prompt, answer in tasks.samples(SEED, held_out=False):
        if prompt not in seen:
            seen.add(prompt)
            yield json.dumps({"family": family, "prompt": prompt, "answer": answer})


def main() -> None:
    for line in itertools.islice(lines(), COUNT):
        print(line)


if __name__ == "__main__":
    main()
