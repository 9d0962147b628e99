"""whodid: the audit log for web applications."""

__version__ = "0.1.0"
