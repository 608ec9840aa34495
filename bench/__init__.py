"""`make bench`: the service beside what people would use instead, on real servers, in one run.

    .venv/bin/python -m bench              # everything, in less than ten minutes
    .venv/bin/python -m bench status cdr   # some groups only

measure.py   Row and Growth, and how a thing is measured: medians, wrk, CPU seconds, memory
stand.py     the servers: Asterisk, MariaDB, the service, nginx before a second service
web.py       nginx with the shipped configuration, and a service behind its unix socket
bare.py      a bare Flask route under the service's own gunicorn settings
*.py         the other files are groups of rows: `rows(stand)` yields them as they are measured

Ours and the peer are measured in turns, so that whatever else the machine does hits both. The
table is printed, and written to build/bench.json. No test depends on it.
"""
