"""How fast each part is: a load that can be counted, and stages that are measured on it."""
