"""The domain of Puesto: carts, orders, subscriptions, seats, and the machinery under them."""
