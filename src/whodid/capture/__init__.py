"""How events come into being inside a host: one module per framework, none imports another.

Everything here runs inside somebody else's request, so nothing here may break or slow it: what
goes wrong is counted, logged and passed over, unless the log was told to fail closed.
"""
