# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Write the held-out prompts that nld-tiny is evaluated on.

python examples/nld-tiny/make_eval.py > examples/nld-tiny/eval.jsonl
"""

from __future__ import annotations

import json

import tasks

PER_FAMILY = 20
SEED = 2026


def main() -> None:
    left = dict.fromkeys(tasks.FAMILIES, PER_FAMILY)
    seen: set[str] = set()
    for family, prompt, answer in tasks.samples(SEED, held_out=True):
        if left[family] == 0 or prompt in seen:
            continue
        seen.add(prompt)
        left[family] -= 1
        print(json.dumps({"id": f"{family}-{len(seen):03d}", "family": family, "prompt": prompt, "answer": answer}))
        if not any(left.values()):
            return


if __name__ == "__main__":
    main()
