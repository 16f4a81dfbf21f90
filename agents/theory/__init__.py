"""The theory of repulsion, checked in controlled experiments: closed forms beside gradient steps of the real losses."""
