"""How a draft is made: by generation, by quotation, in sections."""
