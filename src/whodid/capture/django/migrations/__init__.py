"""One Django migration for each version of whodid's schema."""
