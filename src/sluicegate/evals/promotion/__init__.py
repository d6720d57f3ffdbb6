"""Plans fixed beforehand, gates, sequences, and the pointer to the champion."""
