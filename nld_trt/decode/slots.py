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
# Caches that grow get so many slots more than are needed now: a part of these, or a number where that is more. Caches
# that are replaced whenever a few tokens were decoded would be copied too often.
_SPARE_PART = 4
_LEAST_SPARE = 64


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
        limit, capacity = self._session.info.limits.capacity, self._session.capacity
        slots = min(max(needed, self.least), limit)
        held = None
        if capacity > slots and all(row.cache_length == 0 for row in self._places.live):
            self._places.forget_longer(_KEPT_TIMES * most)
            held = self._places.longest()
        elif slots > capacity:
            spare = max(_LEAST_SPARE, slots // _SPARE_PART)
            slots = max(slots, min(slots + spare, most, limit))
        self._session.reserve(rows, slots, held=held)
