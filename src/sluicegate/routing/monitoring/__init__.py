"""How a fitted router does: report, plots, drift."""
