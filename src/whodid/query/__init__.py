"""The search language: text to tree, and what a tree means for an event.

Pure. `parse` reads, `matches` decides; what a database is asked is not here but in each store's
compiler, which may only ask for a superset.
"""

from whodid.query.ast import And, Node, Not, Or, Query, Term, Text
from whodid.query.evaluate import matches
from whodid.query.parse import parse

__all__ = ["And", "Node", "Not", "Or", "Query", "Term", "Text", "matches", "parse"]
