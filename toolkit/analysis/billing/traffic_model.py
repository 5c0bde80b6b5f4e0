"""Forecast sums of the next days from past days, with a 95 % interval. Numbers only, no dates and no frames.

Problem: estimate the sum from today to the end of the month. Traffic has a weekly pattern, grows or shrinks, wanders,
and sometimes jumps to another level. A few weeks of history don't show which of these it does, so the interval has to
allow for all that the history does not rule out.

Model (a local level model with a slope: Harvey, "Forecasting, structural time series models and the Kalman filter",
1989), of the logarithm z[t] = log(1 + 10 * value / mean value) of day t:

    z[t] = weekday mean + slope * t + level[t] + jump * (t >= k) + noise[t]

The level is a random walk, or an AR(1) process that returns to its mean. The logarithm makes growth by a percentage a
straight line, and the noise of small and of large days alike. The 1 in it keeps days with few or no messages in range.

Method (Bayesian model averaging: Hoeting et al., Statistical Science 14, 1999):

1. A hypothesis is a choice of the deviation of the noise, of the deviation of a day's step of the level and its memory,
   of the likely size of the slope, and of the day k of a jump or none. Under a hypothesis, all values are normal with a
   known covariance.
2. The likelihood of the past days is computed for each hypothesis, with the weekday means integrated out (restricted
   likelihood). It is the weight of the hypothesis.
3. The next days are drawn 2,000 times: a hypothesis by its weight; then the weekday means and the state of the last
   past day (its level, the slope, the jump) given the past days, by universal kriging; then the level and the noise
   day by day. So a year ahead needs no covariance of its days. The generator has a fixed seed, so the same history has
   the same forecast, whatever the number of days ahead.
4. Public holidays ahead are multiplied by a factor that is drawn too, because the history rarely shows it. Past
   holidays are left out of the history.
5. The forecast is the median of the drawn sums. The interval holds the middle 95 % of the sums.

Example: 28 days with a level of 2,000 and noise of 5 % rule out large steps, so the interval of the next 20 days is
about 18 % of their sum. After 28 more such days it is 10 %. If the level jumped by 40 % a week ago, the hypotheses
with a jump on that day have nearly all weight, and the interval is 30 % after 28 days and 13 % after 56.

`benchmarks/truth.py forecast_coverage` measures the coverage. The prior deviations below trade width for coverage:
larger ones widen the interval of flat traffic, and smaller ones miss growth. MIN_DAYS = 14 gives two days of each
weekday; with fewer, noise and the weekly pattern look alike. MAX_DAYS = 56 limits the time of a forecast; older days
predict next week worse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_DAYS, MAX_DAYS = 14, 56
_WEEK = 7
_DRAWS, _SEED = 2_000, 1
# The grid of hypotheses: deviations as multiples of that of the past days around their weekday means, the deviation of
# the growth of a day, and the correlation of the level with that of the day before, 1 for a random walk.
_NOISE = np.geomspace(0.15, 1.3, 7)
_STEP = np.array([0, *np.geomspace(0.03, 1.2, 8)])
_GROWTH = np.array([0, 0.003, 0.01])
_MEMORY = np.array([0.7, 1])
_P_WALK = 0.9  # the prior probability of a random walk; all else in the grid is equally likely
_JUMP, _P_JUMP = 0.4, 0.2  # the deviation of a jump of the logarithm; the prior probability of one
_HOLIDAY_MEDIAN, _HOLIDAY_DEVIATION = 0.85, 0.3  # of the factor of a holiday; the deviation is that of its logarithm
_VALUES_PER_MEAN = 10  # of the logarithm: values far below a tenth of the mean are not distinguished
_NEGLIGIBLE = 1e-9
_NEVER = 1_000_000  # the day of a jump, if there is none

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CumulativeForecast:
    """Forecast sums, each from the first of the next days to a later day. They never decrease.

    Attributes:
        expected: The medians of the sums.
        low, high: The ends of their 95 % intervals.
    """

    expected: Floats
    low: Floats
    high: Floats


def forecast_sums(
    past: Floats, first_weekday: int, weights: Floats, is_holiday: Bools | None = None
) -> CumulativeForecast:
    """Forecast the sums of the days that follow past days.

    Args:
        past: The values of past days, two of each weekday at least.
        first_weekday: The weekday of the first past day, 0 for Monday.
        weights: For each of the next days, the share of the day that is forecast: 1, or less for a day that has begun.
        is_holiday: For each of the past and of the next days, whether it is a public holiday. Default: none is.

    Returns:
        The sums from the first of the next days to the end of each, in the unit of ``past``.

    >>> past = np.array([100.0, 100, 100, 100, 100, 50, 50] * 2)
    >>> forecast_sums(past, 0, np.ones(3)).expected.round(6).tolist()
    [100.0, 200.0, 300.0]
    """
    count, total = len(past), len(past) + len(weights)
    holidays = np.zeros(total, np.bool_) if is_holiday is None else is_holiday
    weekdays = np.equal.outer((first_weekday + np.arange(total)) % _WEEK, np.arange(_WEEK)).astype(np.float64)
    used = np.flatnonzero(~holidays[:count])
    if len(used) < MIN_DAYS or not weekdays[used].any(axis=0).all():
        used = np.arange(count)
    unit = past[used].mean() / _VALUES_PER_MEAN or 1.0
    model = _Model(np.log1p(past[used] / unit), used, count, weekdays)
    rng = np.random.default_rng(_SEED)
    factors = _HOLIDAY_MEDIAN * np.exp(_HOLIDAY_DEVIATION * rng.standard_normal((_DRAWS, 1)))
    drawn = np.maximum(np.expm1(model.draw(rng)), 0) * unit
    sums = np.cumsum(np.where(holidays[count:], drawn * factors, drawn) * weights, axis=1)
    low, expected, high = np.quantile(sums, [0.025, 0.5, 0.975], axis=0)
    return CumulativeForecast(expected, low, high)


@dataclass(frozen=True, slots=True)
class _Model:
    """The model of the past days.

    Attributes:
        logs: The logarithms of the used past days.
        used: The numbers of these days.
        count: The number of all past days.
        weekdays: For each past and each next day, 1 in the column of its weekday.
    """

    logs: Floats
    used: Ints
    count: int
    weekdays: Floats

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw the logarithms of the next days; one row for each draw."""
        x = self.weekdays[self.used]
        means = np.linalg.lstsq(x, self.logs)[0]
        residuals = self.logs - x @ means
        deviation = float(np.sqrt(residuals @ residuals / max(len(x) - _WEEK, 1)))
        if deviation < _NEGLIGIBLE:
            return np.asarray((self.weekdays[self.count :] @ means)[np.newaxis])
        grid = np.stack(np.meshgrid(_NOISE, _STEP, _GROWTH, _MEMORY, indexing="ij"), axis=-1).reshape(-1, 4)
        grid *= (deviation, deviation, 1, 1)  # noise and steps are multiples of the deviation
        numbers, jumps, counts = self._choose(grid, rng)
        means, state = self._draw_state(grid[numbers], jumps, counts, rng)
        noise, step, _, memory = np.repeat(grid[numbers], counts, axis=0).T
        level, slope, jump = state.T
        drawn = []
        for day, weekday in enumerate(self.weekdays[self.count :]):
            level = memory * level + step * rng.standard_normal(len(level))
            drawn.append(means @ weekday + slope * day + jump + level + noise * rng.standard_normal(len(level)))
        return np.stack(drawn, axis=1)

    def _covariance(self, grid: Floats) -> Floats:
        """Return the covariances of the used days' logarithms without a jump, one for each row of the grid."""
        noise, step, slope, memory = (it[:, np.newaxis, np.newaxis] for it in grid.T)
        line = np.multiply.outer(self.used - self.count, self.used - self.count)
        level = step**2 * _level_covariance(memory, self.used[:, np.newaxis], self.used)
        return np.asarray(level + slope**2 * line + noise**2 * np.eye(len(self.used)))

    def _choose(self, grid: Floats, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        """Choose hypotheses by their weights: rows of the grid, days of a jump (_NEVER: none), and numbers of draws."""
        x, used = self.weekdays[self.used], self.used
        covariance = self._covariance(grid)
        inverse = np.linalg.inv(covariance)
        weighted = inverse @ x
        information = x.T @ weighted
        # The projection that removes the weekday means, and what it leaves of the past days.
        projection = inverse - weighted @ np.linalg.solve(information, weighted.transpose(0, 2, 1))
        left = projection @ self.logs
        likelihood = -0.5 * (np.linalg.slogdet(covariance)[1] + np.linalg.slogdet(information)[1] + left @ self.logs)
        likelihood += np.log(np.where(grid[:, 3] == 1, _P_WALK, 1 - _P_WALK))
        # A jump adds a rank-one matrix to the covariance, so its likelihood follows without another inverse.
        jumps = used[2:-1]
        is_after = (used[:, np.newaxis] >= jumps).astype(np.float64)
        size, variance = np.einsum("dk,gde,ek->gk", is_after, projection, is_after, optimize=True), _JUMP**2
        gain = -0.5 * np.log1p(variance * size) + 0.5 * variance * (left @ is_after) ** 2 / (1 + variance * size)
        jumped = likelihood[:, np.newaxis] + gain + np.log(_P_JUMP / len(jumps))
        logs = np.column_stack([likelihood + np.log(1 - _P_JUMP), jumped])
        weights = np.exp(logs - logs.max()).ravel()
        points = (np.arange(_DRAWS) + rng.random()) / _DRAWS * weights.sum()  # systematic sampling
        chosen, counts = np.unique(np.searchsorted(np.cumsum(weights), points), return_counts=True)
        rows, columns = np.divmod(chosen, logs.shape[1])
        return rows, np.append(_NEVER, jumps)[columns], counts

    def _draw_state(self, grid: Floats, jumps: Ints, counts: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw the weekday means and the state of the last past day given the past days (universal kriging).

        Args:
            grid, jumps, counts: The hypotheses, the days of their jumps and the numbers of their draws.
            rng: The source of random numbers.

        Returns:
            The weekday means, one row for each draw, and the states: the level, the slope and the size of the jump.
        """
        x, last = self.weekdays[self.used], self.count - 1
        _, step, slope, memory = (it[:, np.newaxis] for it in grid.T)
        is_after = self.used >= jumps[:, np.newaxis]
        covariance = self._covariance(grid) + _JUMP**2 * (is_after[:, :, np.newaxis] & is_after[:, np.newaxis])
        to_level = step**2 * _level_covariance(memory, last, self.used)
        to_past = np.stack([to_level, slope**2 * (self.used - self.count), _JUMP**2 * is_after], axis=1)
        has_jump = (jumps != _NEVER)[:, np.newaxis]
        variances = np.hstack([step**2 * _level_covariance(memory, last, last), slope**2, _JUMP**2 * has_jump])
        kriging = np.linalg.solve(covariance, to_past.transpose(0, 2, 1)).transpose(0, 2, 1)
        spread = variances[:, :, np.newaxis] * np.eye(variances.shape[1]) - kriging @ to_past.transpose(0, 2, 1)
        weighted = np.linalg.solve(covariance, np.broadcast_to(x, (len(grid), *x.shape)))
        means_covariance = np.linalg.inv(x.T @ weighted).astype(np.float64)
        means: Floats = (means_covariance @ (weighted.transpose(0, 2, 1) @ self.logs)[:, :, np.newaxis])[:, :, 0]
        hypothesis = np.repeat(np.arange(len(grid)), counts)
        drawn = means[hypothesis] + _draw_normal(means_covariance[hypothesis], rng)
        left = self.logs - drawn @ x.T
        state = (kriging[hypothesis] @ left[:, :, np.newaxis])[:, :, 0] + _draw_normal(spread[hypothesis], rng)
        return drawn, state


def _level_covariance(memory: Floats, a: Ints | int, b: Ints | int) -> Floats:
    """Return the covariance of the level on two days, for steps with a deviation of 1."""
    returning = memory ** np.abs(np.subtract(a, b)) / (1 - np.minimum(memory, 0.999) ** 2)
    return np.asarray(np.where(memory < 1, returning, np.minimum(a, b)))


def _draw_normal(covariances: Floats, rng: np.random.Generator) -> Floats:
    """Draw a normal vector for each covariance matrix, which may be singular."""
    variances, axes = np.linalg.eigh(covariances)
    scaled = np.sqrt(np.maximum(variances, 0)) * rng.standard_normal(variances.shape)
    return np.asarray((axes @ scaled[:, :, np.newaxis])[:, :, 0])


def days_until(amount: float, sums: Floats, day_ends: Floats) -> float:
    """Return the number of days until cumulative sums reach an amount, interpolated linearly; infinite if they don't.

    Args:
        amount: The amount.
        sums: The sum at the end of each day.
        day_ends: The time until the end of each day, in days.

    >>> days_until(15, np.array([10.0, 20.0]), np.array([1.0, 2.0]))
    1.5
    """
    if amount <= 0:
        return 0.0
    if sums[-1] < amount:
        return float("inf")
    sums, day_ends = np.append(0, sums), np.append(0, day_ends)
    day = int(np.searchsorted(sums, amount))
    day_length, missing = day_ends[day] - day_ends[day - 1], amount - sums[day - 1]
    return float(day_ends[day - 1] + day_length * missing / (sums[day] - sums[day - 1]))
