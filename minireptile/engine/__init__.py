"""How a plan is computed: layer by layer, in one compiled call, as a graph on a GPU."""
