"""The outside world: AMI, the CDR table, recordings, MP3 and sounds. Never imports flask."""
