"""What a run took, in words."""


def duration(seconds: float) -> str:
    """`1 h 2 min`, `3 min 4 s`, `5 s`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def cost(usd: float) -> str:
    """`0.0123 USD`; whole cents where there are some."""
    return f"{usd:.4f} USD" if usd < 1 else f"{usd:.2f} USD"
