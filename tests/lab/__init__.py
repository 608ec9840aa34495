"""A test lab: a real Asterisk, a real MariaDB and the service itself, up in seconds on loopback.

    with MariaDB() as database, Asterisk(22, database) as asterisk:
        service = Service(asterisk, database)
        key = service.add_user("crm", service.add_group("sales", ["*"]))
        with service:
            service.get("status", key)

asterisk.py   Asterisk 22 or 16 in a private mount namespace, configured from etc/asterisk/
mariadb.py    MariaDB with the call table in both shapes, made by sql/
service.py    the HTTP service with users and groups, and a small HTTP client
sip_listener.py  an address that declines every call and remembers the numbers
phone.py      a SIP phone (sipp) that answers at PJSIP/phone1 and sends a tone
softphone.py  SIP phones in the test's own process: ring, refuse, dial, hold, transfer
sip.py        the messages that they send and read
scenarios.py  calls of all kinds, each played by softphones of its own on a stage (stage.py)
amievents.py  the events of AMI as the events service receives them; eventfile.py keeps them
livetracker.py  the tracker on those events, and CEL, its oracle
record_events.py  `make record-events`: what tests/unit/events holds
manager.py    a minimal AMI client of the lab's own, so that tests need not trust the service's
server.py     what the servers share: a folder, free ports, start, stop, kill, freeze, thaw
rootfs.py     Debian trees that hold Asterisk, made once by mmdebstrap
packages.py   the Debian packages that the lab needs
demo.py       `make demo`

Nothing here touches servers that run on the machine, and nothing outlives the process that started
it, even when that is killed: every server asks the kernel to be killed with its parent, and every
mount lives in the server's own namespace.

The dialplan (etc/asterisk/extensions.conf) tells at its top which number does what.
"""
