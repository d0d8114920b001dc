# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""Where a row's new tokens stand and what they see, as a function of the row's integers, for kernels to call.

It is the definition of ``graph.network.layout`` in another form: a token sees the cache slots below its bound, and in a
quadratic pass the masks after a draft also see each other. The tests compare the two.
"""

import triton
import triton.language as tl


@triton.jit
def token_layout(order, cached, count, is_causal, drafts, PROMPT_BLOCK: tl.constexpr = 0):
    """Position, and the cache slots that are seen: those below ``bound``, and from ``first`` to before ``last``.

    Args:
        order: the new tokens' places in their row, int32 of any shape.
        cached, count, is_causal, drafts: the row's ``cache_length``, ``valid_count``, ``causal`` and ``segments``.
        PROMPT_BLOCK: tokens of the blocks that see themselves in every pass, 0 where the pass decides it. Only the
            bound depends on it.
    """
    quadratic = drafts > 0
    per = tl.maximum(drafts, 1)
    after = order - per
    is_mask = quadratic & (after >= 0)
    segment = tl.maximum(after, 0) // per
    distance = after - segment * per + 1
    own = tl.where(is_mask, segment, order)
    position = cached + own + tl.where(is_mask, distance, 0)
    if PROMPT_BLOCK:
        bound = tl.minimum((position // PROMPT_BLOCK + 1) * PROMPT_BLOCK, cached + count)
    else:
        bound = tl.where(is_causal, cached + own + 1, cached + count)
    first = tl.where(is_mask, cached + per + segment * per, 0)
    last = tl.where(is_mask, first + per, 0)
    return position, bound, first, last, is_mask
