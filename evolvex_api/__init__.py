"""HTTP API of an Asterisk PBX: check, recordings, live channels, calls, sounds and the call log.

A request goes app → api/ → backends/:

app.py       create_app(), the only wiring; read it first
config.py    /etc/evolvex/evolvex.conf as typed values
access.py    API users, groups and contexts: who may do what
params.py    request values as typed values, or ApiError(400)
errors.py    ApiError and the only error handlers (problem+json)
journal.py   request ids and the access journal
api/         HTTP only, a blueprint per resource
backends/    the outside world only: AMI, CDR table, recordings, MP3, sounds; never imports flask
cli/         the command `evolvex-api`
"""

__version__ = "1.1.0"
