"""What `evolvex-api setup` does on a PBX host.

host.py, databases.py and nginx_conf.py find what is there; steps/ are the things to do, a module
each: a step has a plan, does it, proves its effect, and records what `setup --remove` has to undo
(record.py). changes.py makes every change and takes all of them back when one fails; files.py does
so without following links that others than root could have made.
"""


class SetupError(Exception):
    """Something is missing or wrong on this host; the text names it, and what to do."""
