"""Model providers' wires, sans-I/O: what requests may hold, what is believed of answers, and streams both ways."""

from ringwall.wire.models.interface import Api, ModelWire, StreamReader, StreamWriter, ToolCallAsked
from ringwall.wire.models.pieces import parse_piece, with_usage
from ringwall.wire.models.registry import wire

__all__ = ["Api", "ModelWire", "StreamReader", "StreamWriter", "ToolCallAsked", "parse_piece", "wire", "with_usage"]
