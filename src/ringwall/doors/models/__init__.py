"""Doors that speak as model providers do, so that programs written for them work as they are."""
