"""Limits of a frame: what one message may hold before it is refused unread.

They bound the work and the memory that a stranger can cost us, far above what a gateway needs.
"""

from __future__ import annotations

MESSAGE_BYTES = 6 << 20
"""A whole message; anything larger is `too_large`. Good frames are split at 900 kB. What is accepted is sent on
with a few columns and headers more, in a message of at most 8 MiB."""
JSON_BYTES = 1 << 20
"""A JSON or SenML message: parsed text takes thirty times its size in memory."""
JSON_DEPTH = 4
"""Brackets open at once in JSON. A frame is flat: an object of arrays is two deep."""
ROWS = 100_000
"""Readings in one frame. The best size is 500 to 5 000."""
COLUMNS = 64
"""Columns in one frame, ignored ones included."""
TEXT_BYTES = 256
"""UTF-8 bytes of one text cell."""
BATCHES = 64
"""Record batches in one Arrow stream: each costs as much as a small frame."""
SCHEMA_BYTES = 64 << 10
"""Metadata of an Arrow schema; 64 columns need about 8 kB."""
