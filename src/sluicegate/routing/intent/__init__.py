"""The intent router: head, small model and cascade; how it is fitted, stored and explained."""
