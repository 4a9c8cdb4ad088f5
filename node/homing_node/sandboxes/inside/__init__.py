"""What runs in the jail of a zygote, and in the sandboxes that it forks."""
