# SPDX-FileCopyrightText: 2026 The nld-trt authors
# SPDX-License-Identifier: Apache-2.0
"""How many cache slots the rows of a batch have.

Attention may read every slot of the caches, or as many as it is given. So they are as long as rows need for their next
forward, and grow with them: a request that may become long costs no more than it does when it is short.
"""

from __future__ import annotations

from typing import Final

from nld_trt.decode.places import Places
from nld_trt.engine.session import Session

# Donors that are longer than so many times what is needed are dropped, where no live row has anything in the caches.
_KEPT_TIMES: Final = 2
# Caches are replaced by shorter ones when they have more than so many times the slots that are needed.
_SHRUNK_AT: Final = 3
# Fewer slots than this would hardly make attention faster.
_LEAST = 128


class Slots:
    """Reserves the slots of a session for the rows that hold them.

    Attributes:
        least: slots that attention is given at least, as if a row held so many; for warming up.
    """

    def __init__(self, session: Session, places: Places) -> None:
        self.least = 0
        self._session = session
        self._places = places

    def reserve(self, rows: int, needed: int, most: int) -> None:
        """Make the caches long enough, and no longer than is of use once no live row has anything in them.

        Args:
            needed: slots of the next forward. No more are reserved than the engine was built for.
            most: that the rows of the forward may come to fill, on which depends how long donors are kept.
        """
        limit = self._session.info.limits.capacity
        needed = min(max(needed, self.least), limit)
        slots = max(needed, min(rounded(needed), most, limit))
        held = None
        if self._session.capacity > _SHRUNK_AT * slots and all(row.cache_length == 0 for row in self._places.live):
            self._places.forget_longer(_KEPT_TIMES * most)
            held = self._places.longest()
        self._session.reserve(rows, slots, held=held)


def rounded(slots: int) -> int:
    """The next power of two, since caches that grew by a few slots at a time would be copied too often."""
    return max(_LEAST, 1 << (slots - 1).bit_length())
