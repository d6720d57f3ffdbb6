"""A workflow and a run as a picture: SVG and Mermaid."""
