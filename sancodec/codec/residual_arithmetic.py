"""The residual layer under the mixing coder, sample by sample: adaptive prediction, and coding of differences.

docs/format.md, "Coder 2". On top of a channel's static prediction, up to two stages learn from the errors that went
before; four predictions with the scales of their errors then say how likely each decision about a difference is, beside
what was met in the same context. The specification of the native core, and what runs where it was not built.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

from sancodec.codec.mixing import SQUASH, STRETCH, STRETCH_LIMIT, WEIGHT_LIMIT, RangeCoder, limited, updated
from sancodec.errors import CorruptError

N_NODES, N_SLOTS, N_SETS, N_INPUTS = 19, 352, 36, 8
N_PRIOR = N_NODES * (N_SLOTS + N_SETS * N_INPUTS)
MAX_MAGNITUDE = MAX_SAMPLE = 1 << 33
_AROUND, _N_NEIGHBOURS = 4, 2
_MAX_UNARY, _UNARY_NODE, _LAST_UNARY_NODE, _FIRST_BIT_NODE, _SECOND_BIT_NODE = 24, 2, 11, 12, 15
_FIRST_CONTEXT, _PAST_CONTEXT, _NEIGHBOUR_CONTEXT, _SLOPE_CONTEXT = 0, 32, 96, 224
_LEARNING_RATE, _SLOT_LIMIT, _MAX_K = 2, 255, 31
_ERROR_LIMIT, _STAGE_WEIGHT_LIMIT = 1 << 24, 1 << 26


def _softplus() -> list[int]:
    """By 2048 + x: ln(1 + e^x), both in 1/256."""
    result, total = [], 0
    for p in SQUASH:
        result.append(total >> 16)
        total += p
    return result


_SOFTPLUS = _softplus()
# By x: ln(e^x - 1), both in 1/256, from e^-x in 2^-12.
_LOG_OF_RISE = [-STRETCH[min((65536 - p) * 4096 // p, 4095)] for p in SQUASH[2048:]]


def level_of(value: int) -> int:
    """Four levels an octave, of 0 and more."""
    length = (value + 4).bit_length()
    return 4 * (length - 3) + (value + 4 >> length - 3 & 3)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


class _Stage:
    """Normalised LMS on errors that went before, or of other channels; in 2^-6, weights in 2^-20.

    Parameters
    ----------
    spans
        Errors, and for sample n the first that is looked at, less n, and their number.
    """

    def __init__(self, spans: Sequence[tuple[list[int], int, int]]) -> None:
        self._spans = spans
        self._weights = [0] * sum(count for _, _, count in spans)
        self._inputs: list[int] = []

    def sum_at(self, n: int) -> int:
        """What the stage adds to the prediction, in 2^-8."""
        self._inputs = []
        for errors, first, count in self._spans:
            before = max(-(n + first), 0)
            inside = errors[n + first + before : n + first + count] if before < count else []
            self._inputs += [0] * before + inside + [0] * (count - before - len(inside))
        total: int = sum(map(mul, self._weights, self._inputs))
        return total >> 18

    def learn(self, error: int, least_power: int) -> None:
        """From an error in 2^-6."""
        power = least_power + sum(map(mul, self._inputs, self._inputs))
        gain = _sign(error) * ((abs(error) << 24) // power)
        self._weights = [
            limited(weight + (gain * each + 512 >> 10), _STAGE_WEIGHT_LIMIT)
            for weight, each in zip(self._weights, self._inputs, strict=True)
        ]


class DifferenceCoder:
    """Codes differences; what they taught so far serves all channels of the chunk.

    Attributes
    ----------
    experts
        Predictions in 2^-8, and 2^24 over the scales of their errors.
    contexts, sign_context, sets
        Slots of every node but that of the sign, where the second is another, and sets of weights.
    """

    def __init__(self, coder: RangeCoder, prior: list[int]) -> None:
        self.coder = coder
        self._slots = [(each >> 4) << 20 | 1 << 19 | (each & 15) << 2 for each in prior[: N_NODES * N_SLOTS]]
        weights = [((each ^ 0x8000) - 0x8000) * 16 for each in prior[N_NODES * N_SLOTS :]]
        self._weights = [weights[at : at + N_INPUTS] for at in range(0, len(weights), N_INPUTS)]
        self.experts: list[tuple[int, int]] = []
        self.contexts: list[int] = []
        self.sign_context = 0
        self.sets: list[int] = []

    def _node(self, node: int, said: list[int], bit: bool | int) -> int:
        at = [node * N_SLOTS + context for context in self.contexts]
        if node == 1:
            at[1] = node * N_SLOTS + self.sign_context
        inputs = [STRETCH[self._slots[each] >> 20] for each in at] + said
        sets = [node * N_SETS + each for each in self.sets]
        places = [limited(sum(map(mul, self._weights[each], inputs)) >> 16, STRETCH_LIMIT) for each in sets]
        bit = self.coder.bit(int(bit), SQUASH[2048 + (sum(places) >> 1)])
        for each, place in zip(sets, places, strict=True):
            error = ((bit << 16) - SQUASH[2048 + place]) * _LEARNING_RATE
            self._weights[each] = [
                limited(weight + (value * error + (1 << 17) >> 18), WEIGHT_LIMIT)
                for weight, value in zip(self._weights[each], inputs, strict=True)
            ]
        for each in at:
            self._slots[each] = updated(self._slots[each], bit, _SLOT_LIMIT)
        return bit

    def _raw(self, bit: bool | int) -> int:
        return self.coder.bit(int(bit), 32768)

    def _gamma(self, value: int, n_bits: int) -> int:
        """An Elias gamma code of 1 and more."""
        length = 0 if self.coder.is_decoder else value.bit_length() - 1
        count = 0
        while self._raw(count < length):
            count += 1
            if count > n_bits:
                raise CorruptError("residuals: a difference is too large")
        result = 1
        for position in reversed(range(count)):
            result = result << 1 | self._raw(value >> position & 1)
        return result

    def _places(self, at: int) -> list[int]:
        """Where a place lies in each expert's distribution, in 1/256 scales."""
        return [
            limited(limited(at - middle, 1 << 40) * inverse >> 16, STRETCH_LIMIT) for middle, inverse in self.experts
        ]

    def _widths(self, width: int) -> list[int]:
        return [limited(limited(width, 1 << 40) * inverse >> 16, STRETCH_LIMIT) for _, inverse in self.experts]

    def code(self, prediction: int, unit: int, k: int, difference: int) -> int:
        """A difference from the prediction, in units; k low bits of its magnitude are not part of the unary code."""
        middle, edge = prediction * 256, unit * 128
        low, high = self._places(middle - edge), self._places(middle + edge)
        both = list(zip(low, high, strict=True))
        if self._node(0, [STRETCH[SQUASH[2048 + b] - SQUASH[2048 + a] >> 4] for a, b in both], difference == 0):
            return 0
        said = [limited(_SOFTPLUS[2048 + b] - _SOFTPLUS[2048 - a], STRETCH_LIMIT) for a, b in both]
        is_negative = self._node(1, said, difference < 0)
        sign = -1 if is_negative else 1
        place = [-each for each in low] if is_negative else high
        rest, step, count = abs(difference) - 1, (unit * 256) << k, 0
        rise = [_LOG_OF_RISE[each] for each in self._widths(step)]
        while True:
            if count == _MAX_UNARY:
                excess = self._gamma((rest >> k) - _MAX_UNARY + 1, 34 - k)
                if excess > MAX_MAGNITUDE >> k:
                    raise CorruptError("residuals: a difference is too large")
                count += excess - 1
                edge += step * (excess - 1)
                break
            said = [limited(_SOFTPLUS[2048 - a] - b, STRETCH_LIMIT) for a, b in zip(place, rise, strict=True)]
            if not self._node(min(_UNARY_NODE + count, _LAST_UNARY_NODE), said, count < rest >> k):
                break
            edge += step
            place = [sign * each for each in self._places(middle + sign * edge)]
            count += 1
        result = count
        for level in range(k):
            bit = rest >> k - 1 - level & 1
            step >>= 1
            if level < 2:
                before, behind = self._places(middle + sign * edge), self._places(middle + sign * (edge + 2 * step))
                said = [
                    limited(width + _SOFTPLUS[2048 + sign * a] - _SOFTPLUS[2048 + sign * b], STRETCH_LIMIT)
                    for width, a, b in zip(self._widths(step), before, behind, strict=True)
                ]
                first = _FIRST_BIT_NODE + min(count, 2)
                second = _SECOND_BIT_NODE + (2 if count else 0) + (result & 1)
                bit = self._node(second if level else first, said, bit)
            else:
                bit = self._raw(bit)
            result = result << 1 | bit
            if bit:
                edge += step
        return sign * (result + 1)


class ChannelRun:
    """One channel of a chunk, sample after sample."""

    def __init__(
        self,
        coder: DifferenceCoder,
        row: list[int],
        own: list[int],
        sums: list[int],
        approximation: list[int],
        samples: list[int],
        neighbours: list[list[int]],
    ) -> None:
        self._coder = coder
        self._length, self._low, self._high, self._bound, self._shift, *_, self._near_lags, self._far_lags = row
        self._own, self._sums = own, sums
        self._approximation, self._samples = approximation, samples
        self._has_cascade = any(approximation)
        self._neighbours = neighbours[:_N_NEIGHBOURS]

    def run(self) -> list[int]:
        """The errors of the static prediction, in 2^-6; samples become what is decoded."""
        coder, unit = self._coder, 2 * self._bound + 1
        low, high = 256 * self._low, 256 * self._high
        floor, least_power = 32 * unit, 4096 * unit * unit
        # Means of absolute errors in 2^-8: fast and slow, before the second stage, and before both at each slope.
        fast = slow = nearer = 256 * unit
        at_slope: dict[int, int] = {}
        neighbour_mean = 1024 * unit
        last, last_but_one = 0, 0
        errors: list[int] = []
        far_errors: list[int] = []
        beside = [(each, -_AROUND, 2 * _AROUND + 1) for each in self._neighbours]
        near = _Stage([(errors, -self._near_lags, self._near_lags), *beside] if self._near_lags else [])
        far = _Stage([(far_errors, -self._far_lags, self._far_lags)] if self._far_lags else [])
        for n in range(self._length):
            plain = min(max(self._static(n), low), high)
            after_near = plain + near.sum_at(n)
            predicted = min(max(after_near + far.sum_at(n), low), high)
            whole = predicted + 128 >> 8

            mean = (fast + slow) // (2 * unit)
            k = min(max(mean.bit_length() - 8, 0), _MAX_K)
            scale = min(max(level_of(mean >> 2) - 4 * k, 0), 31)
            slope = self._slope(n, unit)
            at_slope.setdefault(slope, slow)
            scales = ((predicted, fast), (predicted, slow), (plain, at_slope[slope]), (after_near, nearer))
            coder.experts = [(middle, (355 << 16) // (size + floor)) for middle, size in scales]
            surprise, sign_beside = 0, 0
            if self._neighbours:
                sizes = [abs(self._neighbours[0][at]) if 0 <= at < self._length else 0 for at in (n - 1, n, n + 1)]
                level = level_of(sizes[0] + 2 * sizes[1] + sizes[2]) - level_of(neighbour_mean >> 2)
                surprise = min(max(9 + (level >> 1), 1), 15)
                sign_beside = _sign(self._neighbours[0][n])
                neighbour_mean += 16 * sizes[1] - neighbour_mean >> 7
            past = [min(abs(each) >> max(k - 1, 0), 7) for each in (last, last_but_one)]
            coder.contexts = [
                _FIRST_CONTEXT + scale,
                _PAST_CONTEXT + 8 * past[0] + past[1],
                _NEIGHBOUR_CONTEXT + 8 * surprise + (scale >> 2),
                _SLOPE_CONTEXT + 8 * slope + (scale >> 2),
            ]
            coder.sign_context = _PAST_CONTEXT + 9 * (_sign(last) + 1) + 3 * (_sign(last_but_one) + 1) + sign_beside + 1
            coder.sets = [min(k, 3), 4 + scale]

            difference = 0 if coder.coder.is_decoder else (self._samples[n] - whole + self._bound) // unit
            difference = coder.code(whole, unit, k, difference)
            if abs(difference) >= MAX_MAGNITUDE or coder.coder.failed:
                raise CorruptError("residuals: a difference is too large, or the stream ends too early")
            sample = self._samples[n] = min(max(whole + unit * difference, self._low), self._high)
            last, last_but_one = difference, last

            # The first sample says where the signal is, not how well it is predicted.
            if n == 0:
                errors.append(0)
                far_errors.append(0)
                continue
            error, after, before = (256 * sample - each for each in (predicted, after_near, plain))
            errors.append(limited(before >> 2, _ERROR_LIMIT))
            far_errors.append(limited(after >> 2, _ERROR_LIMIT))
            limit = min(fast + floor >> 1, _ERROR_LIMIT)
            fast += abs(error) - fast >> 4
            slow += abs(error) - slow >> (4 if n < 32 else 7)
            at_slope[slope] += abs(before) - at_slope[slope] >> 5
            nearer += abs(after) - nearer >> 5
            near.learn(limited(after >> 2, limit), least_power)
            far.learn(limited(error >> 2, limit), least_power)
        return errors

    def _static(self, n: int) -> int:
        """The static prediction in 2^-8."""
        before = self._samples[0] if n else self._approximation[0]
        total = self._sums[n]
        for lag, weight in enumerate(self._own, 1):
            total += weight * (self._samples[n - lag] if lag <= n else before)
        total = limited(total, 1 << 34 + self._shift)
        if self._shift > 8:
            return total + (1 << self._shift - 9) >> self._shift - 8
        return total << 8 - self._shift

    def _slope(self, n: int, unit: int) -> int:
        """What the approximation does about a sample, or else what the samples before did; in units."""
        if self._has_cascade:
            source, first, last, factor = self._approximation, n - 2, n + 3, 4
        else:
            source, first, last, factor = self._samples, n - 1, n - 1, 8
        last = min(last, self._length - 1)
        slopes = sum(abs(source[at] - source[at - 1]) for at in range(max(first, 1), last + 1))
        return min(level_of(factor * slopes // unit) // 2, 15)
