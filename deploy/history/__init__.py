"""`pearlstream import` as a whole: files into a log of their own (producers), or into a live one's past (sinks)."""
