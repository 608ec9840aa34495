"""What `evolvex-api doctor` checks, a module for each family of checks.

configuration.py, backends.py and storage.py are about what the service itself meets; they run
within the sandbox of its unit (sandbox.py). web.py and host.py look at the rest of the host, as
root. report.py puts the findings together. A check is a function that yields findings; one that
raises is a finding itself.
"""
