"""What tests of several rooms share: stand-ins, servers on the loopback, flows and rows made for them."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED_DATA = ROOT.parent / "shared" / "data"
"""Public data sets, where somebody has put them beside the checkout; what needs them is skipped without."""
