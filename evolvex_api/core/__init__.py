"""The rules. Modules here import no flask and open no socket or file."""
