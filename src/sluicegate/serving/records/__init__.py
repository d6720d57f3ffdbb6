"""What a person may know of the recorded runs of all workflows that are served: lists, single runs, what they cost."""
