"""What a device showed when it was probed: each figure measured, with its interval, or absent with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

__all__ = ["ChannelPoint", "EncodingGain", "ProbedFacts", "ThreadSpeedup"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPoint:
    """What a convolution with this many channels costs."""

    #: Input and output channels.
    channels: int
    #: Time per multiply-accumulate relative to that with 64 channels; above 1 is dearer.
    relative_cost: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingGain:
    """How many times faster one int8 encoding runs the same convolution than fp32 does."""

    #: Activation and weight type: "U8S8", "S8S8" or "U8U8".
    encoding: str
    #: Time in fp32 over time in int8; above 1 is faster.
    gain: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSpeedup:
    """What more threads bring."""

    #: Threads within one operator.
    threads: int
    #: Time with one thread over time with these, on convolutions.
    compute: Estimate
    #: The same on operators that stream memory.
    memory: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedFacts:
    """The answers of one probe of one device."""

    #: Identifier of the device.
    device_id: str
    #: Its name at that time.
    device_name: str
    #: When, seconds since 1970.
    wall_time_s: float
    #: Measured or simulated: predicted answers never pass for measured ones.
    source: Source
    #: Runtime and version that was probed.
    runtime_version: str
    #: Experiment under which the runs are kept.
    experiment_id: str
    #: Smallest grid of channels on which no convolution pays extra; None while undecided, see ``block_reason``.
    channel_block: int | None
    #: Why that grid, or why none could be told.
    block_reason: str
    #: Convolutions by channels.
    channels: tuple[ChannelPoint, ...]
    #: int8 encodings that ran.
    encodings: tuple[EncodingGain, ...]
    #: Encoding that is faster than every other and than fp32, beyond doubt; empty while that is undecided.
    best_encoding: str
    #: Why that encoding, or why none.
    encoding_reason: str
    #: Instruction set flags of the device that int8 products profit from, for the reader to hold against the gains.
    int8_flags: tuple[str, ...]
    #: Time in fp32 over time in fp16.
    fp16_gain: Estimate
    #: Threads.
    threads: tuple[ThreadSpeedup, ...]
    #: Bytes per second that elementwise operators read and write, with one thread.
    stream_bandwidth_bytes_per_s: Estimate
    #: How long the device was busy.
    duration_s: float
