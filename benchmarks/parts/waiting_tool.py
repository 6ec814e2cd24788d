"""A tool whose calls take a while, many at a time: what is under way when everything is frozen."""

import asyncio


async def wait(seconds: float) -> str:
    """Answer later."""
    await asyncio.sleep(seconds)
    return "waited"
