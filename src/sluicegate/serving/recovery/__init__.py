"""What a service that is killed leaves behind, and how the next one takes it up."""
