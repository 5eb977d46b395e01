"""From a trained run to a bundle: graphs, variants, card, packing. May import training; training never imports this."""
