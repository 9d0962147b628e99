"""Bytes and hashes: what proves that a log was not altered. No events, no I/O, no dependencies."""
