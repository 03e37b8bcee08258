"""Where tasks come from: sine waves, drawn characters, Omniglot, Mini-ImageNet, folders."""
