"""The way back: stored numbers are checked, recomputed and corrected, and every act is written down."""
