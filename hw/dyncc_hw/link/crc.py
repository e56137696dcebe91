"""The CRC of a body."""

from amaranth.lib.crc import Algorithm, Processor

from dyncc.arch.link import CRC_BYTES, CRC_INVERSION, CRC_POLYNOMIAL, CRC_START


def body_crc() -> Processor:
    """CRC of `dyncc.arch.link`, a byte in a cycle.

    `match_detected` is high after the last byte of a whole body. Wrap it in a `ResetInserter` to
    begin anew, which takes less logic than its input ``start``.
    """
    algorithm = Algorithm(
        crc_width=8 * CRC_BYTES,
        polynomial=CRC_POLYNOMIAL,
        initial_crc=CRC_START,
        reflect_input=False,
        reflect_output=False,
        xor_output=CRC_INVERSION,
    )
    return algorithm(data_width=8).create()
