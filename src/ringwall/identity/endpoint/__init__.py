"""Bundle endpoints over https (SPIFFE Federation): asking others', serving ours, each in a process of its own."""
