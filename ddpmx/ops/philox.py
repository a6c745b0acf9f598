"""Philox4x32-10, a counter-based random generator.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".

Random bits are a function of (counter, key), without state. Words are int64 tensors with values in [0, 2³²).
"""

from __future__ import annotations

from torch import Tensor

MASK = 0xFFFFFFFF
ROUNDS = 10
# The multipliers minus 2³²: for a < 2³² the product a·(M − 2³²) fits int64. Its low word is that of
# a·M = a·(M − 2³²) + a·2³², and its high word is smaller by a.
M0, M1 = 0xD2511F53 - 2**32, 0xCD9E8D57 - 2**32
W0, W1 = 0x9E3779B9, 0xBB67AE85  # added to the two words of the key after each round


def philox(c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, key: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random words for each counter (c0, c1, c2, c3). The four tensors broadcast; `key` is in [0, 2⁶⁴).

    One round, 10 of which are run::

        (c0, c1, c2, c3) ← (hi(M1·c2) ^ c1 ^ k0, lo(M1·c2), hi(M0·c0) ^ c3 ^ k1, lo(M0·c0))
    """
    k0, k1 = key & MASK, key >> 32
    x, y, z, w = c0, c1, c2, c3
    for _ in range(ROUNDS):
        # (c0, c1, c2, c3) ← (hi(M1·c2) ^ c1 ^ k0, lo(M1·c2), hi(M0·c0) ^ c3 ^ k1, lo(M0·c0))
        p, q = x * M0, z * M1
        x, z = ((q >> 32).add_(z) ^ y).bitwise_xor_(k0), ((p >> 32).add_(x) ^ w).bitwise_xor_(k1)
        y, w = q.bitwise_and_(MASK), p.bitwise_and_(MASK)
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return x, y, z, w
