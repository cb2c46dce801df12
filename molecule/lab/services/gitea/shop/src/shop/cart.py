"""A cart: items, how many of each, and what they cost together."""

from __future__ import annotations

from shop.money import Money


class Cart:
    """What a customer is about to buy."""

    def __init__(self) -> None:
        self._prices: dict[str, Money] = {}
        self._quantities: dict[str, int] = {}

    def add(self, name: str, price: Money, quantity: int = 1) -> None:
        """Put `quantity` of an item into the cart; ValueError unless it is at least one."""
        if quantity < 1:
            raise ValueError("quantity must be at least 1")
        self._prices[name] = price
        self._quantities[name] = self._quantities.get(name, 0) + quantity

    def total(self) -> Money:
        """The price of everything in the cart."""
        amount = Money(0)
        for name, quantity in self._quantities.items():
            amount += self._prices[name] * quantity
        return amount
