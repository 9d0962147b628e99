"""How a person at a browser shows a key: HTTP Basic (RFC 7617), any name, the key as password.

A browser asks for that by itself, so the pages need no form, no cookie and no session. The API
takes no Basic: a browser sends it unasked with every request to the server, also with those that
a foreign page makes it send. Not here: whether the key is good.
"""

from __future__ import annotations

import base64

from whodid.server.problems import ProblemError, refuse, with_page

_CHALLENGE = 'Basic realm="whodid", charset="UTF-8"'
# No style: the policy of every answer of the gate lets none in.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>A key is needed – whodid</title>
</head>
<body>
<h1>A key is needed</h1>
<p>This log has keys, so its pages open with a key only.</p>
<p>Load this page again. Your browser asks for a name and a password:</p>
<ul>
<li>Name: anything.</li>
<li>Password: the whole key. It begins with <code>whodid_</code>.</li>
</ul>
<p>If it asks again, the key is not valid, is not valid any more, or may not read.</p>
<p>To make a key that may read, run this where the log is:<br>
<code>whodid keys create --name "my browser" --tenant "*" --scope read</code><br>
<code>"*"</code> is all tenants; the id of one shows that one alone.</p>
<p>A program sends <code>Authorization: Bearer &lt;key&gt;</code>.</p>
</body>
</html>
"""


def password_of(credentials: str) -> str:
    """The password in what follows the word Basic; empty when it can't be read.

    A password is what follows the first colon. The name may be in any encoding and is ignored,
    and so is space around the password: keys are pasted.
    """
    try:
        decoded = base64.b64decode(credentials.strip(" "), validate=True)
    except ValueError:  # also what is not ASCII
        return ""
    return decoded.partition(b":")[2].decode("latin-1").strip()


def key_needed() -> ProblemError:
    """401 for a person at a browser, which asks for the key when it gets this.

    One answer for no key, an unknown, a wrong and an expired one: which of them it is helps only
    a guesser. A key that may not read gets it as well, not 403: after that a browser would send
    the same key on and on and never ask for another.
    """
    refused = refuse(
        401,
        "key",
        "the pages need a key with the scope 'read': any name, the key as password; "
        "make one with `whodid keys create --scope read`",
        headers={"www-authenticate": _CHALLENGE},
    )
    return with_page(refused, _PAGE)
