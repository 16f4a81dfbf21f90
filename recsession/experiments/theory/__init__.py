"""The dynamics of repulsion: experiments beside their closed forms."""
