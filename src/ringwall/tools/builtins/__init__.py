"""Tools that come with Ringwall and ask somebody elsewhere: each in a confined process of its own, which is given a
credential for each call and keeps nothing."""
