"""Prices, a cart and its total."""

from shop.cart import Cart
from shop.money import Money

__all__ = ["Cart", "Money"]
