"""The call log: MySQL's or MariaDB's table of call detail records."""
