"""An archive that installs Sluicegate, weights and workflows where there is no network.

`contents` collects what is needed, `sbom` describes it, `archive` writes it; `install` is the script that the archive
brings along, and needs nothing but Python.
"""
