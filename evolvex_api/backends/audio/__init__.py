"""Audio as bytes: WAV, MP3, decoders, the cache of what was made."""
