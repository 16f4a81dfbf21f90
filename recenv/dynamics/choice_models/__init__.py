"""Choice models, one file each: which shown items the user clicks, given their utilities."""
