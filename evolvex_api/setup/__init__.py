"""What `evolvex-api setup` does on a PBX host.

host.py finds what is there (Asterisk, FreePBX, the database, the web server); steps.py are the
things to do, each with its plan; changes.py makes every change, and takes all back when one fails.
"""


class SetupError(Exception):
    """Something is missing or wrong on this host; the text says what, and what to do."""
