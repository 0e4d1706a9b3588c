"""How all figures look: shared by the verbs that draw, which never import each other."""
