"""The cart adds up what is in it."""

from __future__ import annotations

import unittest

from shop import Cart, Money


class CartTest(unittest.TestCase):
    def test_an_empty_cart_costs_nothing(self) -> None:
        self.assertEqual(Cart().total(), Money(0))

    def test_the_total_counts_every_item(self) -> None:
        cart = Cart()
        cart.add("tea", Money(450), quantity=2)
        cart.add("cup", Money(1200))
        self.assertEqual(str(cart.total()), "21.00")

    def test_a_quantity_below_one_is_refused(self) -> None:
        with self.assertRaises(ValueError):
            Cart().add("tea", Money(450), quantity=0)


if __name__ == "__main__":
    unittest.main()
