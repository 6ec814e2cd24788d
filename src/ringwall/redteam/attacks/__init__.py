"""The attacks, one file each: see ``redteam.attack`` for the format."""
